// Random numbers that are functions of what they are for: the same arguments always give the same number.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pga::fleetsim {

inline uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
inline uint64_t Mix(uint64_t a, uint64_t b) {
  return Mix(a ^ (b * 0xd6e8feb86659fd93u));
}

// A sequence of numbers from one hash.
class Draw {
 public:
  explicit Draw(uint64_t hash) : state_(hash) {}

  uint64_t Bits() {
    state_ += 0x9e3779b97f4a7c15u;
    uint64_t x = (state_ ^ (state_ >> 32)) * 0xd6e8feb86659fd93u;
    return x ^ (x >> 29);
  }
  // In [0, 1).
  double Unit() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }
  bool Chance(double p) { return Unit() < p; }
  int64_t Below(int64_t bound) { return static_cast<int64_t>(Unit() * static_cast<double>(bound)); }
  // About normal with mean 0 and deviation 1, within 3.4.
  double Normal() {
    const uint64_t x = Bits();
    const auto sum = static_cast<double>((x & 0xffff) + (x >> 16 & 0xffff) + (x >> 32 & 0xffff) + (x >> 48));
    return (sum - 131'070.0) * (1.7320508 / 65'536.0);
  }
  double LogNormal(double sigma) { return std::exp(sigma * Normal()); }
  // Number of events where `mean` are expected.
  int64_t Poisson(double mean) {
    if (mean <= 0) return 0;
    if (mean > 12) return static_cast<int64_t>(std::lround(std::max(0.0, mean + std::sqrt(mean) * Normal())));
    double left = Unit();
    double p = std::exp(-mean);
    int64_t n = 0;
    while (left > p && n < 60) {
      left -= p;
      p *= mean / static_cast<double>(++n);
    }
    return n;
  }

 private:
  uint64_t state_;
};

// In [-1, 1], changes slowly: straight lines between random values `step` apart.
inline double Smooth(uint64_t hash, int64_t at, int64_t step) {
  const int64_t knot = at / step;
  const double share = static_cast<double>(at % step) / static_cast<double>(step);
  const auto value = [&](int64_t k) {
    return static_cast<double>(Mix(hash, static_cast<uint64_t>(k)) >> 11) * 0x1p-52 - 1.0;
  };
  return value(knot) * (1 - share) + value(knot + 1) * share;
}

}  // namespace pga::fleetsim
