#include "lockstep/data/import/download.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lockstep/core/base/sha256.h"
#include "tests/data/small_image_set.h"

namespace lockstep {
namespace {

namespace fs = std::filesystem;
using test::TemporaryFolder;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using testing::read_bytes;
using testing::write_bytes;

// Serves the file "body": /range honours Range, /plain does not, /cut breaks off whole answers in
// the middle, /away redirects to a local file. Logs a line "path range" per request and prints its
// port.
constexpr const char* kServer = R"(
import http.server, os, re, sys
body = open('body', 'rb').read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get('Range')
        open('log', 'a').write(f'{self.path} {asked}\n')
        if self.path == '/away':
            self.send_response(302)
            self.send_header('Location', 'file://' + os.path.abspath('body'))
            self.end_headers()
            return
        if self.path not in ('/range', '/plain', '/cut'):
            self.send_error(404)
            return
        start = int(re.match(r'bytes=(\d+)-', asked).group(1)) if asked and self.path != '/plain' else None
        if start is not None and start >= len(body):
            self.send_error(416)
            return
        rest = body[start or 0:]
        self.send_response(200 if start is None else 206)
        self.send_header('Content-Length', str(len(rest)))
        if start is not None:
            self.send_header('Content-Range', f'bytes {start}-{len(body) - 1}/{len(body)}')
        self.end_headers()
        self.wfile.write(rest[:len(rest) // 2] if self.path == '/cut' and start is None else rest)
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
)";

class DownloadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (size_t i = 0; i < 300'000; ++i) body_ += static_cast<char>(i * i % 251);
    write_bytes(folder_ / "body", body_);
    write_bytes(folder_ / "server.py", kServer);
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    server_ = fork();
    if (server_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      close(ends[0]);
      if (chdir(folder_.path().c_str()) != 0) _exit(1);
      execlp("python3", "python3", "server.py", nullptr);
      _exit(1);
    }
    close(ends[1]);
    std::FILE* output = fdopen(ends[0], "r");
    const int read = std::fscanf(output, "%d", &port_);
    std::fclose(output);
    ASSERT_EQ(read, 1) << "the test's web server (python3) does not start";
    unsetenv("http_proxy");
    unsetenv("all_proxy");
  }

  void TearDown() override {
    kill(server_, SIGKILL);
    waitpid(server_, nullptr, 0);
  }

  DownloadSource source(const std::string& page) const {
    return {"test", fmt::format("http://127.0.0.1:{}/{}", port_, page), sha256_hex(body_)};
  }

  void download(const std::string& page) const { download_file(source(page), target_, nullptr); }

  std::vector<std::string> requests() const {
    std::istringstream log(read_bytes(folder_ / "log"));
    std::vector<std::string> lines;
    for (std::string line; std::getline(log, line);) lines.push_back(line);
    return lines;
  }

  const TemporaryFolder folder_;
  const std::string target_ = folder_ / "target";
  std::string body_;
  pid_t server_ = -1;
  int port_ = 0;
};

TEST_F(DownloadTest, FetchesAWholeFileAndReportsProgress) {
  int64_t last = 0, total = 0;
  download_file(source("plain"), target_, [&](int64_t bytes, int64_t all) {
    EXPECT_GE(bytes, last);
    last = bytes;
    total = all;
  });
  EXPECT_EQ(read_bytes(target_), body_);
  EXPECT_EQ(last, 300'000);
  EXPECT_EQ(total, 300'000);
  EXPECT_FALSE(fs::exists(target_ + ".part"));
}

TEST_F(DownloadTest, ResumesAnEarlierPart) {
  write_bytes(target_ + ".part", body_.substr(0, 100'000));
  download("range");
  EXPECT_EQ(read_bytes(target_), body_);
  EXPECT_THAT(requests(), ElementsAre("/range bytes=100000-"));
}

TEST_F(DownloadTest, ResumesByItselfWhenTheServerBreaksOff) {
  download("cut");
  EXPECT_EQ(read_bytes(target_), body_);
  EXPECT_THAT(requests(), ElementsAre("/cut None", "/cut bytes=150000-"));
}

TEST_F(DownloadTest, StartsAgainWhereTheServerCannotResume) {
  write_bytes(target_ + ".part", body_.substr(0, 100'000));
  download("plain");
  EXPECT_EQ(read_bytes(target_), body_);
}

TEST_F(DownloadTest, TakesAPartThatIsWholeAlready) {
  write_bytes(target_ + ".part", body_);
  download("range");
  EXPECT_EQ(read_bytes(target_), body_);
  EXPECT_THAT(requests(), ElementsAre("/range bytes=300000-"));
}

TEST_F(DownloadTest, AWrongDigestIsRefusedAndRemoved) {
  DownloadSource wrong = source("plain");
  wrong.sha256 = sha256_hex(std::string("something else"));
  const Error error = error_of([&] { download_file(wrong, target_, nullptr); });
  EXPECT_EQ(error.code(), ExitCode::kBadData);
  EXPECT_THAT(error.what(), HasSubstr(sha256_hex(body_)));
  EXPECT_FALSE(fs::exists(target_));
  EXPECT_FALSE(fs::exists(target_ + ".part"));
}

TEST_F(DownloadTest, NetworkErrorsAreNamed) {
  EXPECT_THAT(error_of([&] { download("nowhere"); }).what(), HasSubstr("404"));
  EXPECT_EQ(error_of([&] { download("nowhere"); }).code(), ExitCode::kInputOutput);
  EXPECT_EQ(error_of([&] {
              download_file({"x", "https://127.0.0.1:1/x", ""}, target_, nullptr);
            }).code(),
            ExitCode::kInputOutput);
  EXPECT_EQ(error_of([&] {
              download_file({"x", "ftp://127.0.0.1/x", ""}, target_, nullptr);
            }).code(),
            ExitCode::kUsage);
  EXPECT_EQ(error_of([&] { download_file(source("plain"), "/no/such/folder/x", nullptr); }).code(),
            ExitCode::kInputOutput);
}

TEST_F(DownloadTest, ARedirectionToALocalFileIsNotFollowed) {
  EXPECT_EQ(error_of([&] { download("away"); }).code(), ExitCode::kInputOutput);
  EXPECT_FALSE(fs::exists(target_));
}

TEST_F(DownloadTest, CopiesAFileOfAFileAddress) {
  download_file({"test", "file://" + (folder_ / "body"), sha256_hex(body_)}, target_, nullptr);
  EXPECT_EQ(read_bytes(target_), body_);
}

TEST(KnownDownload, ComesOverHttpsWithADigest) {
  for (const char* name : {"cifar10", "cifar100"}) {
    const DownloadSource source = known_download(name);
    EXPECT_THAT(source.url, ::testing::StartsWith("https://"));
    EXPECT_EQ(source.sha256.size(), 64u);
  }
  EXPECT_THAT(error_of([] { known_download("mnist"); }).what(), HasSubstr("cifar100"));
}

}  // namespace
}  // namespace lockstep
