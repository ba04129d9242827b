# LibTorch's module headers take 13 s to read, 4 s to load precompiled, and nothing where they are not
# needed: only the files of `target` that have an #include matching `regex` get the precompiled header.
function(lockstep_precompile_only target regex)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    file(STRINGS ${source} uses REGEX "#include ${regex}")
    if(NOT uses)
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# What of the library needs them: modules, the models' interface, autograd functions.
set(lockstep_torch_includes "(<torch/(nn|csrc/autograd)/|\"lockstep/core/(nn/(image_classifier|batch_norm)|models/layers)\\.h\")")
