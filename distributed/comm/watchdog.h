// Nothing waits for ever: a thread that ends the process when a labelled operation outlives its
// deadline.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lockstep {

// Starts before MPI_Init and ends after MPI_Finalize. Deadlines use the steady clock. On expiry it
// prints one line - this rank, the operation, how long it waited, and what the progress board knows
// of the ranks that are missing - and ends the process with code 70.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::duration<double> default_timeout);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // While it lives, the operation `label` is under way with a deadline. Guards nest (the innermost
  // names the operation).
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept;
    Guard& operator=(Guard&&) = delete;
    ~Guard();

   private:
    friend class Watchdog;
    Guard(Watchdog* watchdog, int64_t id) : watchdog_(watchdog), id_(id) {}
    Watchdog* watchdog_;
    int64_t id_;
  };
  Guard watch(std::string_view label,
              std::optional<std::chrono::duration<double>> timeout = std::nullopt);

  // Work on files that peers wait for, and the wait for it: a slow disk is no lost peer. While the
  // guard lives, "files: <label>" is under way with the deadline file_timeout(), and by that stands
  // what this thread begins to wait for without a deadline of its own. A peer that is known to be
  // lost (set_peer_check) is waited for by the default timeout all the same.
  Guard watch_files(std::string_view label);
  // An hour, or the default timeout where that is longer.
  std::chrono::duration<double> file_timeout() const;

  void set_default_timeout(std::chrono::duration<double> timeout);
  // Called from the watchdog's thread when an operation has waited long, to add what is known of
  // peers ("rank 1 on host b is in …"), and again on expiry, before the process ends.
  using Explainer = std::function<std::string(std::string_view label)>;
  // Called from the watchdog's thread during file work, each time that the default timeout has
  // passed once more: whether a peer is known to be stopped or dead, which no disk explains.
  using PeerCheck = std::function<bool()>;
  // Told of each operation that begins and of its end, under the watchdog's lock: must be quick.
  using Publisher = std::function<void(int64_t operation, std::string_view label, bool begins)>;
  void set_explainer(Explainer explainer);
  // Called likewise, of each witness that has been added and not removed: what it knows of this
  // process ("the device is within …"); empty: nothing. Returns a number for its removal.
  using Witness = std::function<std::string()>;
  int64_t add_witness(Witness witness);
  void remove_witness(int64_t number);
  void set_publisher(Publisher publisher);
  void set_peer_check(PeerCheck peer_is_lost);
  // Called in a thread of its own after the message is printed; the process ends when it returns,
  // or after one second. Ends the peers (MPI_Abort) where the launcher would not.
  void set_last_resort(std::function<void()> last_resort);
  // Instead of printing and ending the process with code 70: called once, in the watchdog's thread,
  // with the message. The host program decides; the operation goes on waiting, and so may every
  // later one. Must not be called while an operation is under way.
  using OnExpiry = std::function<void(const std::string& message)>;
  void set_on_expiry(OnExpiry on_expiry);
  // How messages name this process: "rank 1" once known.
  void set_name(std::string name);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lockstep
