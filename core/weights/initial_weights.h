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
// The model keeps its own, freshly initialised values of
//   - the last layers (auxiliary heads' too) whose number of classes differs, or which the file's
//     metadata say were trained on classes of other names than class_names; the same names in
//     another order are matched (class_names empty: not looked at);
//   - auxiliary heads of which the file has nothing;
//   - num_batches_tracked, which files from before PyTorch 0.4.1 lack.
// Everything else must fit. Throws Error(kBadData) that names every missing, extra and wrongly
// shaped tensor and every one with numbers that are not finite, with advice where a key explains
// them (model.stem, model.head, model.name); nothing has been changed then. Error(kInputOutput)
// when the file cannot be read, Error(kUsage) for a folder or a pickle.
InitialWeights load_initial_weights(ImageClassifier& model,
                                    FlatParameters& parameters,
                                    const std::string& path,
                                    const std::vector<std::string>& class_names = {});

}  // namespace lockstep
