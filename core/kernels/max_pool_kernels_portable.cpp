#define LOCKSTEP_KERNELS max_pool_kernels_portable
#include "lockstep/core/kernels/max_pool_kernels_impl.h"
