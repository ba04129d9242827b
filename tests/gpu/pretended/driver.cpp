// The little of the driver, libcuda.so.1, that LibTorch asks for.
#define API extern "C" __attribute__((visibility("default")))

extern "C" int lockstep_pretended_has_context(int device);

API int cuInit(unsigned /*flags*/) { return 0; }
API int cuDevicePrimaryCtxGetState(int device, unsigned* flags, int* active) {
  *flags = 0;
  *active = lockstep_pretended_has_context(device);
  return 0;
}
API int cuGetErrorString(int /*error*/, const char** text) {
  *text = "a pretended driver's error";
  return 0;
}
