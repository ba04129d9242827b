#define LOCKSTEP_KERNELS batch_norm_kernels_portable
#include "core/batch_norm_kernels_impl.h"
