// What ingest makes of a reading: the same rows as typed columns of a table by binary COPY (pre-made bytes, 10,000 rows
// a transaction), and as frames through the whole service (gRPC, zstd, protobuf, checks, group commit,
// acknowledgement), in turn, in one run, with the same number of connections. Only the ratios mean something beyond
// this machine.
//
//   ingest_bench [seconds per measurement, default 5] [rounds, default 3]
#include <grpcpp/create_channel.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "libs/pg/binary.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"
#include "services/ingest/ingest_testing.h"

namespace pga {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

constexpr int kFrameRows = 200;
constexpr int kRawRows = 10'000;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "ingest_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "ingest_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

// As wide as pg_stat_statements: two texts, an id, twenty counters.
catalog_v1::Metric WideMetric() {
  catalog_v1::Metric metric;
  metric.set_name("wide");
  metric.set_schema_version(1);
  metric.set_description("Rows of the bench.");
  metric.set_scope(catalog_v1::SCOPE_INSTANCE);
  metric.set_interval_factor(1);
  const auto add = [&](const std::string& name, catalog_v1::ColumnType type, catalog_v1::ColumnKind kind) {
    catalog_v1::Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_unit("1");
    column->set_description("A column of the bench.");
    column->set_since_schema_version(1);
  };
  add("datname", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("rolname", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("queryid", catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_LABEL);
  for (int i = 0; i < 20; ++i) add(absl::StrCat("c", i), catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_COUNTER);
  return metric;
}

int64_t QueryId(int64_t seed, int row) {
  return (seed * 1'000 + row) * 7'919'000'000'017LL;
}
int64_t Counter(int64_t seed, int row, int column) {
  return ((seed + row) * 31 + column * 17) % (column < 10 ? 1'000 : 1'000'000);
}

void FillFrame(const catalog_v1::Metric& metric, const std::string& source, int64_t time_us, int64_t seed, int rows,
               ingest_v1::Frame* frame) {
  frame::FrameBuilder builder(metric, frame);
  frame->set_source_id(source);
  frame->set_collected_at_us(time_us);
  frame->set_interval_start_us(time_us - 1'000'000);
  frame->set_kind(ingest_v1::FRAME_KIND_DELTA);
  for (int row = 0; row < rows; ++row) {
    builder.SetText(0, "application");
    builder.SetText(1, "application_user");
    builder.SetInt(2, QueryId(seed, row));
    for (int i = 0; i < 20; ++i) builder.SetInt(3 + i, Counter(seed, row, i));
    builder.EndRow();
  }
  Must(builder.Finish());
}

double CpuSeconds(pid_t pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::stringstream text;
  text << stat.rdbuf();
  const std::string line = text.str();
  const size_t after = line.rfind(')');
  if (after == std::string::npos) return 0;
  std::istringstream fields(line.substr(after + 2));
  std::string field;
  double ticks = 0;
  for (int i = 3; i <= 15 && fields >> field; ++i) {
    if (i == 14 || i == 15) ticks += std::strtod(field.c_str(), nullptr);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Measured {
  double rows_per_second = 0;
  double own_us_per_row = 0;      // this process: client and service, or the raw writer
  double backend_us_per_row = 0;  // PostgreSQL's writing backends
  double p50_ms = 0, p99_ms = 0;  // from sending a batch to its acknowledgement
};

class Bench {
 public:
  explicit Bench(absl::Duration limit) : limit_(limit) {
    server_ = Must(testing::TempPostgres::Start({.durable = true}));
    url_ = Must(server_->CreateDatabase("bench"));
    storage::MigrateOptions options;
    options.metrics = {&metric_};
    Must(storage::MigrateUp(url_, storage::Database::kMetrics, options));
    // Texts as numbers, as a table of rows would have them.
    std::string counters;
    for (int i = 0; i < 20; ++i) absl::StrAppend(&counters, ", c", i, " int8");
    (void)Must(
        server_->Exec("bench", absl::StrCat("CREATE TABLE wide (time timestamptz NOT NULL, datname int8, rolname "
                                            "int8, queryid int8",
                                            counters,
                                            ", source_id int4 NOT NULL, flags int2 NOT NULL); CREATE INDEX ON "
                                            "wide (source_id, time)")));
  }

  void Clear() {
    (void)Must(server_->Exec(
        "bench", "TRUNCATE wide, metrics.frame, metrics.ingest_receipt, metrics.ingest_watermark; CHECKPOINT"));
  }

  Measured Raw(int writers) {
    Clear();
    const int64_t now_us = absl::ToUnixMicros(clock::WallNow());
    std::string stream;
    pg::AppendCopyHeader(&stream);
    for (int row = 0; row < kRawRows; ++row) {
      pg::AppendRowHeader(&stream, 26);
      pg::AppendTimestamptz(&stream, now_us);
      pg::AppendInt8(&stream, 4'711'000'000'815);
      pg::AppendInt8(&stream, 8'150'000'004'711);
      pg::AppendInt8(&stream, QueryId(1, row));
      for (int i = 0; i < 20; ++i) pg::AppendInt8(&stream, Counter(1, row, i));
      pg::AppendInt4(&stream, 1);
      pg::AppendInt2(&stream, 0);
    }
    pg::AppendCopyTrailer(&stream);
    const std::string sql = "COPY wide FROM STDIN BINARY";
    std::atomic<int64_t> rows{0};
    std::atomic<int64_t> backend_us{0};
    const double own = OwnCpuSeconds();
    const clock::SteadyTime started = clock::SteadyNow();
    std::vector<std::thread> threads;
    for (int w = 0; w < writers; ++w) {
      threads.emplace_back([&] {
        const clock::SteadyTime far = clock::SteadyNow() + absl::Minutes(10);
        auto connection = Must(pg::CopyConnection::Connect({.url = url_}, far));
        const double before = CpuSeconds(connection->backend_pid());
        while (clock::SteadyNow() - started < limit_) {
          (void)Must(connection->Exec("BEGIN", far));
          Must(connection->BeginCopy(sql, far));
          Must(connection->PutCopyData(stream, far));
          rows += Must(connection->EndCopy(far));
          Must(connection->Commit(far));
        }
        backend_us += static_cast<int64_t>((CpuSeconds(connection->backend_pid()) - before) * 1e6);
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double elapsed = absl::ToDoubleSeconds(clock::SteadyNow() - started);
    Measured measured;
    const auto count = static_cast<double>(rows);
    measured.rows_per_second = count / elapsed;
    measured.own_us_per_row = (OwnCpuSeconds() - own) * 1e6 / count;
    measured.backend_us_per_row = static_cast<double>(backend_us) / count;
    return measured;
  }

  // `streams` collectors that send as fast as the window allows, `per_stream` batches sealed beforehand.
  Measured Through(int writers, int streams, double expected_rows_per_second) {
    Clear();
    ingest::IngestHarness::Options options;
    options.config.metrics_url = log::Secret(url_);
    options.config.writers = writers;
    options.listen = {"127.0.0.1:0"};
    ingest::IngestHarness harness(std::move(options));
    const auto per_stream = static_cast<int64_t>(
        std::max(20.0, expected_rows_per_second * absl::ToDoubleSeconds(limit_) / kFrameRows / streams));

    struct Collector {
      std::string id;
      std::string stream_id = frame::RandomUuid();
      std::vector<ingest_v1::StreamBatchesRequest> requests;
      std::vector<double> latencies_ms;
      std::unique_ptr<ingest::CollectorCall> call;
    };
    std::vector<Collector> collectors(static_cast<size_t>(streams));
    const int64_t now_us = absl::ToUnixMicros(clock::WallNow());
    for (int c = 0; c < streams; ++c) {
      Collector& collector = collectors[static_cast<size_t>(c)];
      collector.id = absl::StrCat("bench-", c);
      std::string hash = frame::ZeroHash();
      for (int64_t seq = 1; seq <= per_stream; ++seq) {
        ingest_v1::BatchContent content;
        ingest_v1::SourceInfo* source = content.add_sources();
        source->set_source_id(frame::SourceUuid(collector.id, "db"));
        source->set_name("db");
        FillFrame(metric_, source->source_id(), now_us + seq, seq, kFrameRows, content.add_frames());
        ingest_v1::StreamBatchesRequest& request = collector.requests.emplace_back();
        *request.mutable_batch() = Must(frame::SealBatch(collector.stream_id, seq, hash, content));
        hash = request.batch().hash();
      }
      collector.call = std::make_unique<ingest::CollectorCall>(
          grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", harness.server()->ports()[0]),
                                    grpc::InsecureChannelCredentials(), ChannelArguments(c)),
          ingest::CollectorToken(collector.id));
      if (collector.call->Hello(1, {collector.stream_id}) == nullptr) Must(absl::InternalError("no answer to Hello"));
    }
    const auto backends = [&] {
      double cpu = 0;
      for (const pg::Row row : Must(server_->Exec(
               "bench", "SELECT pid FROM pg_stat_activity WHERE application_name = 'pga-ingest writer'"))) {
        cpu += CpuSeconds(row.Int32(0));
      }
      return cpu;
    };
    const double own = OwnCpuSeconds();
    const clock::SteadyTime started = clock::SteadyNow();
    std::vector<std::thread> threads;
    for (Collector& collector : collectors) {
      threads.emplace_back([&collector, per_stream] {
        std::vector<clock::SteadyTime> sent(static_cast<size_t>(per_stream) + 1);
        int64_t next = 1, acked = 0;
        while (acked < per_stream) {
          while (next <= per_stream && next - acked <= 16) {
            sent[static_cast<size_t>(next)] = clock::SteadyNow();
            if (!collector.call->Write(collector.requests[static_cast<size_t>(next) - 1])) return;
            ++next;
          }
          const auto answer = collector.call->Next();
          if (answer == nullptr || !answer->has_ack()) {
            Must(absl::InternalError(answer == nullptr ? "the call ended" : answer->ShortDebugString()));
          }
          const clock::SteadyTime now = clock::SteadyNow();
          for (; acked < answer->ack().last_seq(); ++acked) {
            collector.latencies_ms.push_back(absl::ToDoubleMilliseconds(now - sent[static_cast<size_t>(acked) + 1]));
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    const double elapsed = absl::ToDoubleSeconds(clock::SteadyNow() - started);
    const double own_used = OwnCpuSeconds() - own;
    const double backend_used = backends();
    const auto count = static_cast<double>(per_stream * streams * kFrameRows);
    const int64_t stored = Must(server_->Exec("bench", "SELECT sum(rows) FROM metrics.frame"))[0].Int64(0);
    if (stored != static_cast<int64_t>(count)) Must(absl::InternalError(absl::StrCat("stored ", stored, " rows")));
    std::vector<double> latencies;
    for (const Collector& collector : collectors) {
      latencies.insert(latencies.end(), collector.latencies_ms.begin(), collector.latencies_ms.end());
    }
    std::sort(latencies.begin(), latencies.end());
    Measured measured;
    measured.rows_per_second = count / elapsed;
    measured.own_us_per_row = own_used * 1e6 / count;
    measured.backend_us_per_row = backend_used * 1e6 / count;
    measured.p50_ms = latencies[latencies.size() / 2];
    measured.p99_ms = latencies[latencies.size() * 99 / 100];
    for (Collector& collector : collectors) collector.call->WritesDone();
    return measured;
  }

 private:
  // A connection per collector, as in the field.
  static grpc::ChannelArguments ChannelArguments(int number) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("pga.bench.number", number);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return arguments;
  }

  const absl::Duration limit_;
  const catalog_v1::Metric metric_ = WideMetric();
  std::unique_ptr<testing::TempPostgres> server_;
  std::string url_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Run(double seconds, int rounds) {
  Bench bench(absl::Seconds(seconds));
  struct Case {
    int writers;
    int streams;
  };
  std::printf("%-8s %-8s %12s %12s %7s %10s %12s %12s %9s %9s\n", "writers", "streams", "raw rows/s", "rows/s", "ratio",
              "own us/row", "backend us", "raw backend", "p50 ms", "p99 ms");
  for (const Case test : {Case{1, 50}, Case{2, 50}, Case{1, 1}}) {
    std::vector<double> raw, through, ratios, own, backend, raw_backend, p50, p99;
    for (int round = 0; round < rounds; ++round) {
      const Measured base = bench.Raw(test.writers);
      const Measured measured = bench.Through(test.writers, test.streams, base.rows_per_second);
      raw.push_back(base.rows_per_second);
      through.push_back(measured.rows_per_second);
      ratios.push_back(measured.rows_per_second / base.rows_per_second);
      own.push_back(measured.own_us_per_row);
      backend.push_back(measured.backend_us_per_row);
      raw_backend.push_back(base.backend_us_per_row);
      p50.push_back(measured.p50_ms);
      p99.push_back(measured.p99_ms);
    }
    std::printf("%-8d %-8d %12.0f %12.0f %7.2f %10.2f %12.2f %12.2f %9.1f %9.1f\n", test.writers, test.streams,
                Median(raw), Median(through), Median(ratios), Median(own), Median(backend), Median(raw_backend),
                Median(p50), Median(p99));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace pga

int main(int argc, char** argv) {
  pga::log::LogOptions options;
  options.level = pga::log::Level::error;
  pga::log::Init(options);
  return pga::Run(argc > 1 ? std::atof(argv[1]) : 5, argc > 2 ? std::atoi(argv[2]) : 3);
}
