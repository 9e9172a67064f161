# `cmake --install`: headers in include/rondo, static libraries, programs, and find_package(rondo)
# with rondo::runtime, rondo::ops, rondo::actors (and the folders beneath, rondo::base and so on).

include(CMakePackageConfigHelpers)
set(RONDO_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)

install(DIRECTORY runtime/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rondo
  FILES_MATCHING PATTERN "*.h" PATTERN cli EXCLUDE)
foreach(folder ops actors)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${folder})
    install(DIRECTORY ${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/rondo/${folder}
      FILES_MATCHING PATTERN "*.h")
  endif()
endforeach()

foreach(program rondo rondo-train rondo-sample rondo-eval)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

install(EXPORT rondoTargets NAMESPACE rondo:: DESTINATION ${RONDO_CMAKE_DIR})
configure_package_config_file(cmake/rondoConfig.cmake.in
  ${CMAKE_BINARY_DIR}/rondoConfig.cmake INSTALL_DESTINATION ${RONDO_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/rondoConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/rondoConfig.cmake ${CMAKE_BINARY_DIR}/rondoConfigVersion.cmake
  cmake/RondoDependencies.cmake DESTINATION ${RONDO_CMAKE_DIR})
