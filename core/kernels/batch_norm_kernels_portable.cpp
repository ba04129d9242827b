#define LOCKSTEP_KERNELS batch_norm_kernels_portable
#include "lockstep/core/kernels/batch_norm_kernels_impl.h"
