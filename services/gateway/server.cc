#include "services/gateway/server.h"

#include <fstream>
#include <iterator>

#include "libs/clock/steady.h"
#include "libs/door/byte_budget.h"
#include "libs/door/networks.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/builtin_descriptor_set.h"
#include "services/gateway/http_session.h"
#include "services/gateway/listener.h"
#include "services/gateway/mcp.h"
#include "services/gateway/pipeline.h"
#include "services/gateway/tls_context.h"
#include "services/gateway/transcoder.h"
#include "services/gateway/upstream_call.h"

namespace pga::gateway {
namespace {

// Of all callers without a good token: bytes of large answers that wait for their readers, and calls for whole
// documents.
constexpr int64_t kAnswersOfStrangers = 6 << 20;
constexpr int64_t kCallsOfStrangers = 8;

absl::StatusOr<std::string> ReadDescriptorSet(const std::string& path) {
  if (path.empty()) return BuiltinDescriptorSet();
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::InvalidArgumentError("DESCRIPTOR_SET_FILE: cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::shared_ptr<grpc::Channel> ChannelOf(
    const std::vector<std::pair<std::string, std::shared_ptr<grpc::Channel>>>& channels, std::string_view full_name) {
  size_t longest = 0;
  std::shared_ptr<grpc::Channel> found;
  for (const auto& [prefix, channel] : channels) {
    if (full_name.starts_with(prefix) && prefix.size() >= longest) {
      longest = prefix.size();
      found = channel;
    }
  }
  return found;
}

}  // namespace

// Declared in the order they are built; destroyed in reverse, the listener first.
struct GatewayService::Parts {
  GatewayConfig config;
  Deps deps;
  std::unique_ptr<ApiSurface> api;
  std::unique_ptr<Pipeline> pipeline;
  std::unique_ptr<Transcoder> transcoder;
  std::unique_ptr<Mcp> mcp;
  std::unique_ptr<RequestMetrics> request_metrics;
  std::unique_ptr<door::ByteBudget> bodies;
  std::unique_ptr<door::ByteBudget> answers;
  std::unique_ptr<door::ByteBudget> waiting_answers;
  std::unique_ptr<door::ByteBudget> calls_of_callers;
  std::unique_ptr<door::ByteBudget> answers_of_strangers;
  std::unique_ptr<door::ByteBudget> calls_of_strangers;
  std::unique_ptr<exec::ThreadPool> large_messages;
  door::TrustedProxies proxies;
  door::TrustedProxies proxy_from;
  std::unique_ptr<TlsContext> tls;
  UpstreamCalls calls;
  SessionShared shared;
  std::unique_ptr<Listener> listener;
};

absl::StatusOr<std::unique_ptr<GatewayService>> GatewayService::Create(GatewayConfig config, Deps deps) {
  PGA_RETURN_IF_ERROR(config.Validate());
  auto parts = std::make_unique<Parts>();
  parts->config = std::move(config);
  parts->deps = std::move(deps);
  Parts& p = *parts;

  PGA_ASSIGN_OR_RETURN(const std::string descriptor_set, ReadDescriptorSet(p.config.descriptor_set_file));
  PGA_ASSIGN_OR_RETURN(p.api, ApiSurface::Create(descriptor_set));
  for (const auto& method : p.api->methods()) {
    if (ChannelOf(p.deps.channels, method->full_name) == nullptr) {
      return absl::InvalidArgumentError("no service address is configured for " + method->full_name);
    }
  }
  Pipeline::Deps pipeline_deps;
  pipeline_deps.api = p.api.get();
  pipeline_deps.verifier = p.deps.verifier;
  pipeline_deps.revocations = p.deps.revocations;
  pipeline_deps.clock = p.deps.clock;
  pipeline_deps.metrics = p.deps.metrics;
  pipeline_deps.rates = p.deps.rates;
  PGA_ASSIGN_OR_RETURN(p.pipeline, Pipeline::Create(p.config, pipeline_deps));
  p.transcoder = std::make_unique<Transcoder>(p.api.get());
  PGA_ASSIGN_OR_RETURN(p.mcp, Mcp::Create(descriptor_set, p.api.get()));
  p.request_metrics = std::make_unique<RequestMetrics>(*p.api, p.deps.metrics);
  const auto budget = [](int64_t total, int64_t each) {
    return std::make_unique<door::ByteBudget>(
        door::ByteBudget::Limits{.wait_total = total, .most_total = total, .wait_each = each, .most_each = each});
  };
  // One body of the largest size must fit.
  p.bodies = budget(p.config.max_buffered_bytes,
                    std::min(p.config.max_buffered_bytes,
                             std::max(p.config.max_buffered_bytes / 2, p.config.max_body_bytes + (64 << 10))));
  p.answers = budget(p.config.max_answer_bytes, p.config.max_answer_bytes * 2 / 3);
  p.waiting_answers = budget(p.config.max_answer_bytes / 4, p.config.max_answer_bytes / 8);
  p.calls_of_callers = budget(int64_t{1} << 20, p.config.max_calls_per_caller);
  p.answers_of_strangers = budget(kAnswersOfStrangers, kAnswersOfStrangers / 2);
  p.calls_of_strangers = budget(kCallsOfStrangers, kCallsOfStrangers);
  // A connection has one message at a time.
  p.large_messages = std::make_unique<exec::ThreadPool>("http-large", 1, static_cast<size_t>(p.config.max_connections));
  PGA_ASSIGN_OR_RETURN(p.proxies, door::TrustedProxies::Parse(p.config.trusted_proxies));
  PGA_ASSIGN_OR_RETURN(p.proxy_from, door::TrustedProxies::Parse(p.config.proxy_protocol_from, "PROXY_PROTOCOL_FROM"));
  if (p.config.tls_enabled) {
    PGA_ASSIGN_OR_RETURN(p.tls, TlsContext::Create(p.config.tls_cert_path, p.config.tls_key_path, p.deps.clock));
  }

  p.shared.config = &p.config;
  p.shared.pipeline = p.pipeline.get();
  p.shared.transcoder = p.transcoder.get();
  p.shared.mcp = p.mcp.get();
  p.shared.calls = &p.calls;
  p.shared.request_metrics = p.request_metrics.get();
  p.shared.bodies = p.bodies.get();
  p.shared.answers = p.answers.get();
  p.shared.waiting_answers = p.waiting_answers.get();
  p.shared.calls_of_callers = p.calls_of_callers.get();
  p.shared.answers_of_strangers = p.answers_of_strangers.get();
  p.shared.calls_of_strangers = p.calls_of_strangers.get();
  p.shared.large_messages = p.large_messages.get();
  p.shared.clock = p.deps.clock;
  p.shared.service_token = p.deps.service_token;
  p.shared.channel_of = [&p](std::string_view grpc_path) {
    return ChannelOf(p.deps.channels, grpc_path.substr(std::min<size_t>(1, grpc_path.size())));
  };
  return std::unique_ptr<GatewayService>(new GatewayService(std::move(parts)));
}

GatewayService::GatewayService(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
GatewayService::~GatewayService() = default;

absl::Status GatewayService::Start() {
  Parts& p = *parts_;
  Listener::Options options;
  options.address = p.config.ListenAddress();
  options.port = p.config.port;
  options.threads = p.config.io_threads;
  options.max_connections = p.config.max_connections;
  options.max_connections_per_address = p.config.max_connections_per_address;
  options.proxies = &p.proxies;
  options.proxy_from = &p.proxy_from;
  options.proxy_protocol = p.config.ingest_proxy_protocol;
  options.tls = p.tls.get();
  options.hand_over = p.deps.hand_over;
  options.splice_to = p.deps.ingest_address;
  options.metrics = p.deps.metrics;
  options.shared = &p.shared;
  PGA_ASSIGN_OR_RETURN(p.listener, Listener::Start(std::move(options)));
  PGA_LOG(info, "gateway listening",
          {{"address", p.config.ListenAddress()},
           {"port", p.listener->port()},
           {"tls", p.config.tls_enabled},
           {"methods", p.api->methods().size()}});
  return absl::OkStatus();
}

int GatewayService::port() const {
  return parts_->listener == nullptr ? 0 : parts_->listener->port();
}

void GatewayService::Drain(clock::SteadyTime deadline) {
  if (parts_->listener != nullptr) parts_->listener->Drain(deadline);
}

}  // namespace pga::gateway
