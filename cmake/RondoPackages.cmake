# Every outside library, found once and named as an imported target. ARCHITECTURE.md says why each.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(TBB REQUIRED)
find_package(CapnProto REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(SQLite3 REQUIRED)
pkg_check_modules(ZMQ REQUIRED IMPORTED_TARGET libzmq)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
endif()

# libxsmm exists for x86 only; elsewhere the gemm seam goes through OpenBLAS.
pkg_check_modules(XSMM IMPORTED_TARGET libxsmm)
pkg_check_modules(OPENBLAS IMPORTED_TARGET openblas)
