// Fine-tuning: a model that starts from weights trained before (`model.weights`).
#pragma once

#include <string>
#include <vector>

#include "lockstep/core/nn/module_forward.h"
#include "lockstep/core/training/flat_parameters.h"

namespace lockstep {

struct InitialWeights {
  std::string sha256;  // of the file, hex
  std::vector<std::string>
      notes;  // one line each, for people: what was read, what stays freshly initialised
};

// Copies the tensors of a safetensors file into the model: Lockstep's own weights, or a state_dict
// of torchvision's saved by safetensors.torch.save_file, in float32, float16, bfloat16 or float64.
// A prefix that wrappers put before all its names ("module.") is left out.
// The model keeps its own, freshly initialised values of
//   - the last layers (auxiliary heads' too) whose number of classes differs, which the file lacks,
//     or which its metadata say were trained on classes of other names than class_names; the same
//     names in another order are matched (class_names empty: not looked at);
//   - auxiliary heads of which the file has nothing;
//   - num_batches_tracked, which files from before PyTorch 0.4.1 lack.
// Everything else must fit. Throws Error(kBadData) that names missing, extra and wrongly shaped
// tensors (of many the first few) or those with numbers that are not finite, with advice where a
// key explains them (model.stem, model.head, model.name) or where only some names have a wrapper's
// prefix; nothing has been changed then. Error(kInputOutput)
// when the file cannot be read, Error(kUsage) for a folder or a pickle.
InitialWeights load_initial_weights(ImageClassifier& model,
                                    FlatParameters& parameters,
                                    const std::string& path,
                                    const std::vector<std::string>& class_names = {});

}  // namespace lockstep
