import CArgon2
import CCrypto

/// The cost of an argon2id hash (RFC 9106).
public struct Argon2Parameters: Equatable, Sendable {
  /// Passes over the memory, 1 or more.
  public var passes: UInt32
  /// Memory in KiB, at least 8 for each lane.
  public var memoryKiB: UInt32
  /// Lanes, each computed by a thread, 1 or more.
  public var parallelism: UInt32

  /// The cost with these numbers; the defaults are what the system that this one replaced used.
  public init(passes: UInt32 = 6, memoryKiB: UInt32 = 65_536, parallelism: UInt32 = 2) {
    self.passes = passes
    self.memoryKiB = memoryKiB
    self.parallelism = parallelism
  }

  /// Whether the algorithm allows these numbers and `Limits` do.
  public var isValid: Bool {
    (1...Limits.argon2PassesMax).contains(passes) && (1...Limits.argon2ParallelismMax).contains(parallelism)
      && memoryKiB >= 8 * parallelism && memoryKiB <= Limits.argon2MemoryKiBMax
  }

  /// Memory that one computation takes, for admission.
  public var bytes: Int { Int(memoryKiB) * 1024 }
}

/// Argon2id through libargon2. Calls take as long as the parameters say, so they belong on a compute pool.
public enum Argon2 {
  private static let saltBytes = 16
  private static let outputBytes = 32

  /// Hashes `password` with a new random salt into a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
  /// - Throws: `invalidParameters`, `resourcesExhausted`.
  public static func hash(_ password: [UInt8], parameters: Argon2Parameters) throws(HashingError) -> [UInt8] {
    try hash(password, salt: SystemRandom.bytes(saltBytes), parameters: parameters)
  }

  static func hash(
    _ password: [UInt8], salt: [UInt8], parameters: Argon2Parameters
  ) throws(HashingError) -> [UInt8] {
    guard parameters.isValid else { throw .invalidParameters }
    var output = [UInt8](repeating: 0, count: outputBytes)
    let code = withContext(password, salt, parameters, output: &output) { argon2id_ctx(&$0) }
    guard code == ARGON2_OK.rawValue else { throw .resourcesExhausted(code: code) }
    let costs = "m=\(parameters.memoryKiB),t=\(parameters.passes),p=\(parameters.parallelism)"
    return Array("$argon2id$v=19$\(costs)$".utf8) + base64(salt) + [UInt8(ascii: "$")] + base64(output)
  }

  static func withContext(
    _ password: [UInt8], _ salt: [UInt8], _ parameters: Argon2Parameters, output: inout [UInt8],
    _ body: (inout argon2_context) -> CInt
  ) -> CInt {
    // libargon2 takes mutable pointers, because it can be told to wipe its inputs; with these flags it writes nothing,
    // and a copy of the password would be one more to wipe.
    password.withUnsafeBufferPointer { password in
      salt.withUnsafeBufferPointer { salt in
        output.withUnsafeMutableBufferPointer { output in
          var context = argon2_context()
          (context.pwd, context.pwdlen) = (UnsafeMutablePointer(mutating: password.baseAddress), UInt32(password.count))
          (context.salt, context.saltlen) = (UnsafeMutablePointer(mutating: salt.baseAddress), UInt32(salt.count))
          (context.out, context.outlen) = (output.baseAddress, UInt32(output.count))
          (context.t_cost, context.m_cost) = (parameters.passes, parameters.memoryKiB)
          (context.lanes, context.threads) = (parameters.parallelism, parameters.parallelism)
          context.version = ARGON2_VERSION_13.rawValue
          context.flags = 0
          (context.allocate_cbk, context.free_cbk) = (HugeMemory.allocate, HugeMemory.free)
          return body(&context)
        }
      }
    }
  }

  /// Base 64 without padding, as PHC strings have it.
  private static func base64(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
    var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
    let count = Int(EVP_EncodeBlock(&text, bytes, CInt(bytes.count)))
    return text[..<count].prefix { $0 != UInt8(ascii: "=") }
  }
}
