import Glibc

/// What the kernel says of itself and of the processor, as far as it matters here.
struct Kernel {
  /// The text of a file, nil if there is none.
  let readFile: (String) -> String?

  /// Argon2 asks for large pages, which it gets unless they are forbidden.
  var hugePages: Finding {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled"
    // The one that is chosen stands in brackets: `always [madvise] never`.
    let chosen = readFile(path)?.split { $0 == "[" || $0 == "]" }.dropFirst().first.map(String.init)
    let isForbidden = chosen == "never"
    return Finding(
      what: "huge pages", detail: (chosen ?? "not known") + (isForbidden ? "; argon2 computes a tenth slower" : ""),
      remedy: isForbidden ? "echo madvise > \(path)" : nil, weight: .advice)
  }

  /// Under strict accounting what is asked for counts, not what is used, and argon2 asks for much at once. What Redis
  /// wants it for, writing its data down beside its work, is switched off here.
  var overcommit: Finding {
    let value = readFile("/proc/sys/vm/overcommit_memory")?.prefix { $0.isNumber } ?? ""
    let meaning = ["0": "0, by judgement", "1": "1, always", "2": "2, never: argon2 and Redis may be refused memory"]
    return Finding(
      what: "overcommit", detail: meaning[String(value)] ?? "not known",
      remedy: value == "2" ? "sysctl vm.overcommit_memory=0" : nil, weight: .advice)
  }

  /// What makes hashes fast, where the processor has it.
  var processor: Finding {
    let lines = readFile("/proc/cpuinfo")?.split(separator: "\n") ?? []
    let count = lines.count { $0.hasPrefix("processor") }
    let flags = Set(lines.first { $0.hasPrefix("flags") }?.split(separator: " ").map(String.init) ?? [])
    let has = ["avx2", "avx512f", "sha_ni", "aes"].filter(flags.contains)
    return Finding(
      what: "processors", detail: "\(count)" + (has.isEmpty ? "" : ", with " + has.joined(separator: ", ")),
      remedy: nil)
  }
}
