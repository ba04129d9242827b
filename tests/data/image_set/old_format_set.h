// An image set in the HDF5 library's oldest format, where nothing in the headers carries a
// checksum: damage reaches the library's parsers.
#pragma once

#include <hdf5.h>

#include <string>
#include <vector>

namespace lockstep::testing {

inline herr_t copy_attribute(hid_t from, const char* name, const H5A_info_t*, void* to) {
  const hid_t attribute = H5Aopen(from, name, H5P_DEFAULT);
  const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
  std::vector<char> value(H5Tget_size(type) *
                          static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
  H5Aread(attribute, type, value.data());
  const hid_t copy =
      H5Acreate2(*static_cast<hid_t*>(to), name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(copy, type, value.data());
  for (const hid_t id : {copy, attribute}) H5Aclose(id);
  H5Tclose(type);
  return H5Sclose(space);
}

inline void copy_dataset(hid_t from, hid_t to, const std::string& name) {
  const hid_t dataset = H5Dopen2(from, name.c_str(), H5P_DEFAULT);
  const hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset),
              properties = H5Dget_create_plist(dataset);
  std::vector<char> values(H5Tget_size(type) *
                           static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
  H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  const hid_t copy =
      H5Dcreate2(to, name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
  H5Dwrite(copy, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  for (const hid_t id : {copy, dataset}) H5Dclose(id);
  H5Pclose(properties);
  H5Sclose(space);
  H5Tclose(type);
}

// Copies an image set (image_file.h) into a new file.
inline void write_in_old_format(const std::string& from, const std::string& to) {
  const hid_t source = H5Fopen(from.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  hid_t target = H5Fcreate(to.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  H5Aiterate2(source, H5_INDEX_NAME, H5_ITER_INC, nullptr, copy_attribute, &target);
  for (const std::string group : {"/train", "/test"}) {
    H5Gclose(H5Gcreate2(target, group.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    for (const char* name : {"/images", "/labels", "/block_digests"})
      copy_dataset(source, target, group + name);
  }
  H5Fclose(source);
  H5Fclose(target);
}

}  // namespace lockstep::testing
