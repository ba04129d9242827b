# The target `docs`: the API reference, by Doxygen from the public headers and docs/*.md. A warning
# is an error.
find_program(LOCKSTEP_DOXYGEN doxygen)
set(lockstep_reference_dir ${PROJECT_BINARY_DIR}/reference)
set(lockstep_reference_input ${PROJECT_SOURCE_DIR}/docs/library.md)
foreach(header ${lockstep_public_headers})
  list(APPEND lockstep_reference_input ${PROJECT_BINARY_DIR}/include/lockstep/${header})
endforeach()
list(JOIN lockstep_reference_input " " lockstep_reference_input)
configure_file(${PROJECT_SOURCE_DIR}/docs/Doxyfile.in ${PROJECT_BINARY_DIR}/Doxyfile @ONLY)
if(LOCKSTEP_DOXYGEN)
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -E make_directory ${lockstep_reference_dir}
    COMMAND ${LOCKSTEP_DOXYGEN} ${PROJECT_BINARY_DIR}/Doxyfile
    COMMAND ${CMAKE_COMMAND} -E echo "${lockstep_reference_dir}/html/index.html"
    VERBATIM)
else()
  add_custom_target(docs
    COMMAND ${CMAKE_COMMAND} -E echo "doxygen is missing: apt-get install doxygen, then configure again"
    COMMAND ${CMAKE_COMMAND} -E false
    VERBATIM)
endif()
