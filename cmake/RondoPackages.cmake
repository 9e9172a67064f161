# Every outside library, found once and named as an imported target. ARCHITECTURE.md says why each.
# The list itself is also installed, for those who find_package(rondo).

include(${CMAKE_CURRENT_LIST_DIR}/RondoDependencies.cmake)
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
endif()
