# What `cmake --install` puts where, and the package that find_package(Lockstep) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
include(PublicHeaders)

set(lockstep_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Lockstep)
set(lockstep_targets lockstep_core lockstep_cpu_kernels lockstep_data lockstep_distributed lockstep_run)
set_target_properties(lockstep_cpu_kernels PROPERTIES EXPORT_NAME cpu_kernels)
if(TARGET lockstep_cuda_kernels)
  list(APPEND lockstep_targets lockstep_cuda_kernels)
  set_target_properties(lockstep_cuda_kernels PROPERTIES EXPORT_NAME cuda_kernels)
endif()

# The program keeps the way to the LibTorch it was built with.
set_target_properties(lockstep_program PROPERTIES INSTALL_RPATH "${lockstep_torch_rpath}")
install(TARGETS lockstep RUNTIME)
install(TARGETS lockstep_program RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR})
install(TARGETS ${lockstep_targets} EXPORT LockstepTargets ARCHIVE LIBRARY)
install(EXPORT LockstepTargets NAMESPACE lockstep:: DESTINATION ${lockstep_package_dir})
foreach(header ${lockstep_public_headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lockstep/${folder})
endforeach()
install(FILES cmake/LibTorch.cmake cmake/installed_torch.py cmake/libtorch_versions.txt DESTINATION ${lockstep_package_dir})

configure_package_config_file(cmake/LockstepConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/LockstepConfig.cmake
  INSTALL_DESTINATION ${lockstep_package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/LockstepConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/LockstepConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/LockstepConfigVersion.cmake
  DESTINATION ${lockstep_package_dir})
