// A library that is no module of ours.

extern "C" int rondo_ops_not_a_module() { return 0; }
