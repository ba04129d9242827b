#include "lockstep/distributed/training/statistics_exchange.h"

namespace lockstep {
namespace {

class CommunicatorStatisticsExchange final : public StatisticsExchange {
 public:
  explicit CommunicatorStatisticsExchange(Communicator& communicator)
      : communicator_(communicator) {}
  void sum(at::Tensor& statistics) override {
    communicator_.all_reduce(statistics, "batch-norm statistics");
  }

 private:
  Communicator& communicator_;
};

}  // namespace

std::unique_ptr<StatisticsExchange> make_statistics_exchange(Communicator& communicator) {
  return std::make_unique<CommunicatorStatisticsExchange>(communicator);
}

}  // namespace lockstep
