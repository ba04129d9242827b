// Names of modules, for headers that only pass them on: reading LibTorch's own header takes 13 s.
#pragma once

namespace torch::nn {
class Module;
}

namespace lockstep {
class ImageClassifier;
}
