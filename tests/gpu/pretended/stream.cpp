#include "tests/gpu/pretended/stream.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/gpu/pretended/device_memory.h"

namespace lockstep::pretended {
namespace {

// Up to so long a piece of work lies in its queue before it is begun, by chance.
int64_t most_delay_microseconds() {
  static const char* given = std::getenv("LOCKSTEP_PRETENDED_DELAY_US");
  return given ? std::atol(given) : 0;
}

// A recording under way, and its last work on some stream.
struct CapturePoint {
  std::shared_ptr<Graph> graph;  // null: none
  std::vector<size_t> last;
};

class Stream {
 public:
  CapturePoint capture;

  void push(Work work) {
    if (capture.graph) {
      capture.last = {capture.graph->add(std::move(work), capture.last)};
      return;
    }
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    if (!begun_) {
      begun_ = true;
      std::thread([this] { run(); }).detach();
    }
    changed_.notify_all();
  }
  void drain() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.empty() && !busy_; });
  }
  bool is_idle() {
    const std::lock_guard lock(mutex_);
    return queue_.empty() && !busy_;
  }

 private:
  void run() {
    std::mt19937_64 random(std::random_device{}());
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return !queue_.empty(); });
      const Work work = std::move(queue_.front());
      queue_.pop_front();
      busy_ = true;
      lock.unlock();
      if (const int64_t most = most_delay_microseconds(); most > 0) {
        std::this_thread::sleep_for(
            std::chrono::microseconds(random() % static_cast<uint64_t>(most)));
      }
      work();
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> queue_;
  bool begun_ = false, busy_ = false;
};

struct Event {
  std::mutex mutex;
  std::condition_variable changed;
  int64_t recorded = 0, happened = 0;
  CapturePoint captured;

  int64_t latest() {
    const std::lock_guard lock(mutex);
    return recorded;
  }
  void wait(int64_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return happened >= count; });
  }
};

// Streams and events live as long as the process: queued work may name them.
struct Streams {
  std::mutex mutex;
  std::array<Stream*, kMostDevices> by_default{};
  std::vector<Stream*> all;

  Streams() {
    for (Stream*& stream : by_default) all.push_back(stream = new Stream);
  }
};
Streams& streams() {
  static auto* made = new Streams;
  return *made;
}

// Each device's default stream is one like the others: LibTorch makes no blocking ones.
Stream& stream_of(cudaStream_t stream) {
  if (stream != nullptr && stream != cudaStreamLegacy && stream != cudaStreamPerThread)
    return *reinterpret_cast<Stream*>(stream);
  int device = 0;
  cudaGetDevice(&device);
  return *streams().by_default[static_cast<size_t>(device)];
}
Event& event_of(cudaEvent_t event) { return *reinterpret_cast<Event*>(event); }

}  // namespace

void enqueue(cudaStream_t stream, Work work) { stream_of(stream).push(std::move(work)); }

void drain(cudaStream_t stream) {
  if (!is_captured(stream)) stream_of(stream).drain();
}

void drain_all() {
  Streams& s = streams();
  const std::lock_guard lock(s.mutex);
  for (Stream* stream : s.all) stream->drain();
}

bool is_idle(cudaStream_t stream) { return stream_of(stream).is_idle(); }

cudaStream_t make_stream() {
  Streams& s = streams();
  const std::lock_guard lock(s.mutex);
  s.all.push_back(new Stream);
  return reinterpret_cast<cudaStream_t>(s.all.back());
}

cudaEvent_t make_event() { return reinterpret_cast<cudaEvent_t>(new Event); }

void record(cudaEvent_t event, cudaStream_t stream) {
  Event& e = event_of(event);
  e.captured = stream_of(stream).capture;
  if (e.captured.graph) return;
  int64_t count = 0;
  {
    const std::lock_guard lock(e.mutex);
    count = ++e.recorded;
  }
  enqueue(stream, [&e, count] {
    const std::lock_guard lock(e.mutex);
    e.happened = std::max(e.happened, count);
    e.changed.notify_all();
  });
}

bool has_happened(cudaEvent_t event) {
  Event& e = event_of(event);
  const std::lock_guard lock(e.mutex);
  return e.happened >= e.recorded;
}

void wait_for(cudaEvent_t event) { event_of(event).wait(event_of(event).latest()); }

void make_wait(cudaStream_t stream, cudaEvent_t event) {
  Event& e = event_of(event);
  if (e.captured.graph) {
    CapturePoint& own = stream_of(stream).capture;
    own.graph = e.captured.graph;
    own.last.insert(own.last.end(), e.captured.last.begin(), e.captured.last.end());
  } else if (!is_captured(stream)) {  // a wait for what came before the capture is no part of it
    enqueue(stream, [&e, count = e.latest()] { e.wait(count); });
  }
}

void begin_capture(cudaStream_t stream) {
  stream_of(stream).capture = {.graph = std::make_shared<Graph>(), .last = {}};
}

std::shared_ptr<const Graph> end_capture(cudaStream_t stream) {
  const CapturePoint end = stream_of(stream).capture;
  const auto leave = [&](Stream& other) {
    if (other.capture.graph == end.graph) other.capture = {};
  };
  Streams& s = streams();
  const std::lock_guard lock(s.mutex);
  for (Stream* other : s.all) leave(*other);
  return end.graph->is_joined(end.last) ? end.graph : nullptr;
}

bool is_captured(cudaStream_t stream) { return stream_of(stream).capture.graph != nullptr; }
bool is_captured(cudaEvent_t event) { return event_of(event).captured.graph != nullptr; }

}  // namespace lockstep::pretended
