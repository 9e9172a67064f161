# Every outside library, found once and named as an imported target. ARCHITECTURE.md says why each.
# The first part is also installed, and run for those who find_package(rondo): keep it free of options.

include(${CMAKE_CURRENT_LIST_DIR}/RondoDependencies.cmake)
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
endif()
