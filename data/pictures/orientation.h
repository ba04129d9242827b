// Which side of a picture is up, by what cameras and programs write beside its pixels.
#pragma once

#include <optional>
#include <string>

namespace lockstep {

// The places in which an orientation can stand.
struct OrientationSources {
  // EXIF: a TIFF structure, perhaps behind "Exif\0\0". PNG: the eXIf chunk or the text "exif";
  // JPEG: the APP1 segments, joined.
  std::optional<std::string> exif;
  // The same in hexadecimal digits: ImageMagick's PNG text "Raw profile type exif".
  std::optional<std::string> raw_profile;
  // XMP (an XML text): the PNG text "XML:com.adobe.xmp", a JPEG's APP1 segment.
  std::string xmp;
};

// 1 (upright) to 8, by the rules of Pillow's ImageOps.exif_transpose: EXIF, in its absence the raw
// profile; XMP where neither names an orientation. 1 for whatever is damaged or absent.
int orientation_of(const OrientationSources& sources);

}  // namespace lockstep
