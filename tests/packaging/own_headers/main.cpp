// Every public header, beside a header of the user's own that is called as one of ours might be.
#include "core/error.h"
#include "every_public_header.h"

int main() { return own_error()[0] == 'm' && lockstep::sha256_hex("").size() == 64 ? 0 : 1; }
