// The same coefficients in another coding: recode_jpeg arithmetic | arithmetic-progressive | scans
// reads a JPEG from stdin and writes it to stdout. "scans": each component in a scan of its own.
#include <cstdio>
#include <cstring>

#include <jpeglib.h>

#include <vector>

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  jpeg_decompress_struct in{};
  jpeg_compress_struct out{};
  jpeg_error_mgr errors{};
  in.err = out.err = jpeg_std_error(&errors);
  jpeg_create_decompress(&in);
  jpeg_stdio_src(&in, stdin);
  jpeg_save_markers(&in, JPEG_APP0 + 14, 0xFFFF);
  jpeg_read_header(&in, TRUE);
  jvirt_barray_ptr* coefficients = jpeg_read_coefficients(&in);

  jpeg_create_compress(&out);
  jpeg_stdio_dest(&out, stdout);
  jpeg_copy_critical_parameters(&in, &out);
  out.arith_code = std::strncmp(argv[1], "arithmetic", 10) == 0 ? TRUE : FALSE;
  out.optimize_coding = out.arith_code ? FALSE : TRUE;
  if (std::strcmp(argv[1], "arithmetic-progressive") == 0) jpeg_simple_progression(&out);
  std::vector<jpeg_scan_info> scans;
  if (std::strcmp(argv[1], "scans") == 0) {
    for (int component = 0; component < out.num_components; ++component)
      scans.push_back({1, {component}, 0, 63, 0, 0});
    out.scan_info = scans.data();
    out.num_scans = static_cast<int>(scans.size());
  }
  jpeg_write_coefficients(&out, coefficients);
  jpeg_finish_compress(&out);
  jpeg_destroy_compress(&out);
  jpeg_finish_decompress(&in);
  jpeg_destroy_decompress(&in);
  return errors.num_warnings > 0 ? 65 : 0;
}
