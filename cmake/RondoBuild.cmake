# Language level, warnings, sanitizers, launchers, the include tree, and the kinds of target.

include(GNUInstallDirs)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)   # `rondo X` finds `rondo-X` beside it
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(RONDO_RELEASE_FLAGS "-O2 -g1" CACHE STRING "How a release is compiled")
set(CMAKE_CXX_FLAGS_RELEASE "${RONDO_RELEASE_FLAGS}")
set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")   # the sanitizers: readable stacks, half the time

find_program(RONDO_CCACHE ccache)
if(RONDO_CCACHE)   # it looks into precompiled headers only if told that they use no time of day
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros ${RONDO_CCACHE})
endif()
find_program(RONDO_MOLD mold)
if(RONDO_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-fuse-ld=mold)
endif()

add_library(rondo_flags INTERFACE)
target_compile_options(rondo_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wno-missing-field-initializers>
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)   # contraction is explicit: canonical arithmetic
if(RONDO_WERROR)
  target_compile_options(rondo_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(rondo_flags INTERFACE -Wthread-safety -Werror=thread-safety)
endif()
if(RONDO_SANITIZE)
  add_compile_options(-fsanitize=${RONDO_SANITIZE} -fno-omit-frame-pointer)
  add_compile_options(-fno-sanitize-recover=all)
  add_link_options(-fsanitize=${RONDO_SANITIZE})
endif()

# Sources and users alike write <rondo/core/membership.h>: here a tree of links, installed a folder.
set(RONDO_INCLUDE_DIR ${CMAKE_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${RONDO_INCLUDE_DIR}/rondo)
function(rondo_link_headers)
  file(GLOB entries CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/runtime/*)
  list(FILTER entries EXCLUDE REGEX "/(cli|CMakeLists\\.txt|[^/]*\\.cc)$")
  list(APPEND entries ${PROJECT_SOURCE_DIR}/ops ${PROJECT_SOURCE_DIR}/actors)
  foreach(entry IN LISTS entries)
    get_filename_component(name ${entry} NAME)
    file(CREATE_LINK ${entry} ${RONDO_INCLUDE_DIR}/rondo/${name} SYMBOLIC)
  endforeach()
endfunction()
rondo_link_headers()

# rondo_library(NAME SOURCES a.cc b.cc [PUBLIC lib...] [PRIVATE lib...]): one library a folder.
# rondo_base is also rondo::base, here and for those who find_package(rondo).
function(rondo_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${RONDO_INCLUDE_DIR}> $<INSTALL_INTERFACE:include>)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:rondo_flags>
    PUBLIC ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  string(REGEX REPLACE "^rondo_" "" short ${name})
  add_library(rondo::${short} ALIAS ${name})
  set_target_properties(${name} PROPERTIES EXPORT_NAME ${short})
  install(TARGETS ${name} EXPORT rondoTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
endfunction()

# rondo_program(NAME SOURCES a.cc [LIBS lib...]): an installed program, in the build's bin/.
function(rondo_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE rondo_flags ${arg_LIBS})
endfunction()

# A test is compiled more often than it is run: what it tests is compiled as users have it, the test
# itself with -O1, and the headers that every test reads are precompiled, once. (There gcc 12 warns
# falsely, in two words, of std::string(n, c) + "text".)
set(RONDO_TEST_FLAGS $<$<CONFIG:Release>:-O1> -Wno-array-bounds -Wno-stringop-overflow)
function(rondo_test_headers name)
  if(NOT TARGET rondo_test_headers)
    file(CONFIGURE OUTPUT rondo_test_headers.cc CONTENT "int main() { return 0; }\n")
    add_executable(rondo_test_headers ${CMAKE_CURRENT_BINARY_DIR}/rondo_test_headers.cc)
    target_link_libraries(rondo_test_headers PRIVATE rondo_flags GTest::gtest)
    target_compile_options(rondo_test_headers PRIVATE ${RONDO_TEST_FLAGS})
    target_precompile_headers(rondo_test_headers PRIVATE
      <gtest/gtest.h> <algorithm> <chrono> <filesystem> <fstream> <functional>)
  endif()
  target_compile_options(${name} PRIVATE ${RONDO_TEST_FLAGS})
  target_precompile_headers(${name} REUSE_FROM rondo_test_headers)
endfunction()

# rondo_test(NAME SOURCES a_test.cc [LIBS lib...] [LABELS l...] [TIMEOUT s] [SERIAL]):
# one GoogleTest program, one CTest entry. SERIAL: it measures time, so nothing may run beside it.
# Labels with a meaning: long (not in tests/run.sh), gpu, seeds (simulator sweeps: not under TSan).
function(rondo_test name)
  cmake_parse_arguments(arg "SERIAL" "TIMEOUT" "SOURCES;LIBS;LABELS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(RONDO_SANITIZE)
    math(EXPR arg_TIMEOUT "${arg_TIMEOUT} * 4")
  endif()
  add_executable(${name} ${arg_SOURCES})
  rondo_test_headers(${name})
  target_link_libraries(${name} PRIVATE rondo_flags ${arg_LIBS} GTest::gtest GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
  if(arg_SERIAL)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
endfunction()
