#include <curl/curl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "lockstep/core/base/error.h"
#include "lockstep/core/base/sha256.h"
#include "lockstep/data/import/transfer.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;

constexpr long kConnectTimeoutSeconds = 30;
constexpr long kStallTimeoutSeconds = 60;
constexpr long kRangeNotSatisfiable = 416;
constexpr int kAttempts = 3;

struct Transfer {
  std::FILE* file = nullptr;
  int64_t resumed_bytes = 0;
  const std::function<void(int64_t, int64_t)>* progress = nullptr;
};

int on_progress(void* data, curl_off_t total, curl_off_t now, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<const Transfer*>(data);
  if (*transfer.progress)
    (*transfer.progress)(transfer.resumed_bytes + now,
                         total > 0 ? transfer.resumed_bytes + total : 0);
  return 0;
}

enum class Outcome { kDone, kCannotResume, kFailed };

struct Result {
  Outcome outcome = Outcome::kFailed;
  bool worth_retrying = false;
  std::string reason;
};

void set_options(CURL* curl, const std::string& url, Transfer& transfer) {
  // Only what the address itself asks for: a redirection may not lead from HTTPS to a weaker
  // protocol or to a local file.
  const size_t scheme_end = url.find("://");
  const std::string scheme = scheme_end == std::string::npos ? "" : url.substr(0, scheme_end);
  if (scheme != "https" && scheme != "http" && scheme != "file") {
    throw_error(ExitCode::kUsage,
                "\"{}\" is no address for a download; give one with https://, http:// or file://",
                url);
  }
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, scheme.c_str());
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, scheme == "http" ? "http,https" : "https");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "lockstep");
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer.file);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(
      curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.resumed_bytes));
}

// Appends what is missing to `part`.
Result fetch(const std::string& url,
             const std::string& part,
             const std::function<void(int64_t, int64_t)>& progress) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(part.c_str(), "ab"),
                                                             &std::fclose);
  if (!file) throw_error(ExitCode::kInputOutput, "cannot write {}: {}", part, std::strerror(errno));
  Transfer transfer{file.get(), static_cast<int64_t>(fs::file_size(part)), &progress};
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), &curl_easy_cleanup);
  LOCKSTEP_CHECK(curl, "libcurl does not start");
  char details[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, details);
  set_options(curl.get(), url, transfer);
  errno = 0;
  CURLcode code = curl_easy_perform(curl.get());
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK && (std::fflush(file.get()) != 0 || fsync(fileno(file.get())) != 0))
    code = CURLE_WRITE_ERROR;
  if (code == CURLE_WRITE_ERROR)
    throw_error(ExitCode::kInputOutput, "cannot write {}: {}", part, std::strerror(errno));
  if (code == CURLE_OK) return {Outcome::kDone, false, ""};
  const bool cannot_resume = transfer.resumed_bytes > 0 &&
                             (code == CURLE_RANGE_ERROR || code == CURLE_BAD_DOWNLOAD_RESUME ||
                              status == kRangeNotSatisfiable);
  const bool broken_off =
      code == CURLE_PARTIAL_FILE || code == CURLE_RECV_ERROR || code == CURLE_OPERATION_TIMEDOUT;
  return {cannot_resume ? Outcome::kCannotResume : Outcome::kFailed,
          broken_off,
          details[0] ? details : curl_easy_strerror(code)};
}

}  // namespace

void fetch_whole(const DownloadSource& source,
                 const std::string& part,
                 const std::function<void(int64_t, int64_t)>& progress) {
  // Once per process, before any thread of this program uses libcurl; later calls only count.
  LOCKSTEP_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl does not start");
  Result result;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    result = fetch(source.url, part, progress);
    if (result.outcome == Outcome::kDone) return;
    if (result.outcome == Outcome::kCannotResume) {
      // Either nothing is missing, or the server only sends whole files.
      if (sha256_file(part) == source.sha256) return;
      fs::remove(part);
    } else if (!result.worth_retrying) {
      break;
    }
  }
  throw_error(ExitCode::kInputOutput,
              "cannot download {}: {}. What has arrived is kept; check the network or the proxy "
              "settings (https_proxy) and run the "
              "command again.",
              source.url,
              result.reason);
}

}  // namespace lockstep
