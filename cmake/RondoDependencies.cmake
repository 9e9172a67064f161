# The outside libraries that Rondo's static libraries link to: found here by the build, and by
# rondoConfig.cmake for a program that uses the installed Rondo. Their Debian names: packages.txt.

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

# libxsmm exists for x86 only; elsewhere the gemm seam goes through OpenBLAS.
pkg_check_modules(XSMM IMPORTED_TARGET libxsmm)
pkg_check_modules(OPENBLAS IMPORTED_TARGET openblas)
