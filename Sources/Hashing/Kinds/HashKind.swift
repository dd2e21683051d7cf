import Basics

/// A kind of hash task: all that the API and the workers need to know to offer it at `POST /hash/<name>`, queue it, run
/// it, and show and cache its result. A new kind is a file beside this one and its name in `HashKind.all`.
public struct HashKind: Sendable {
  /// Which slots of a worker run a task, so that a backlog of long ones never keeps short ones waiting.
  public enum SlotGroup: Int16, Sendable, CaseIterable {
    /// Microseconds each: claimed and completed by the hundred.
    case quick = 0
    /// Megabytes each: claimed by the dozen, which bounds the worker's memory.
    case bulky = 1
    /// A good part of a second and much memory each: claimed one by one, as slots become free.
    case heavy = 2

    /// New tasks for which it is worth to wake one more worker.
    public var tasksPerWakeUp: Int {
      switch self {
      case .quick: 128
      case .bulky: 8
      case .heavy: 1
      }
    }
  }

  /// What costs are configured.
  public struct Parameters: Sendable {
    /// The cost of argon2id.
    public var argon2: Argon2Parameters

    /// Parameters with this cost of argon2id.
    public init(argon2: Argon2Parameters = Argon2Parameters()) {
      self.argon2 = argon2
    }
  }

  /// The name in the path, in the tables and in cache keys: lower-case letters and digits.
  public let name: String
  /// The name as people write it.
  public let displayName: String
  /// The field of the result that holds the hash.
  public let resultField: String
  /// Whether it computes long enough for slots of its own.
  public let isHeavy: Bool
  /// Whether the input is a secret: encrypted in the queue, and never in a result, a cache, a list or a log. Such a
  /// hash is salted, so two tasks with one input are two tasks.
  public let isSecret: Bool
  /// The memory in bytes that one computation takes beyond its input and result, if that is worth to be counted.
  var memoryBytes: @Sendable (Parameters) -> Int = { _ in 0 }
  let compute: @Sendable ([UInt8], Parameters) throws(HashingError) -> [UInt8]

  /// All kinds there are.
  public static let all: [HashKind] = [.md5, .sha256, .argon2]

  /// The kind called `name`, nil for any other name.
  public static func named(_ name: String) -> HashKind? {
    all.first { $0.name == name }
  }

  /// Inputs from this size on are bulky.
  public static let bulkyBytes = 16_384

  /// The slots that run a task with `inputBytes` of input.
  public func slotGroup(inputBytes: Int) -> SlotGroup {
    isHeavy ? .heavy : inputBytes >= HashKind.bulkyBytes ? .bulky : .quick
  }

  /// The memory in bytes that one computation takes with `parameters`, for admission; 0 for what takes next to none.
  public func memoryBytes(with parameters: Parameters) -> Int { memoryBytes(parameters) }

  /// Computes the hash of `input` and writes the result as clients see it.
  /// - Throws: `HashingError`.
  public func result(of input: [UInt8], parameters: Parameters) throws(HashingError) -> [UInt8] {
    let began = MonotonicTime.current()
    let hash = try compute(input, parameters)
    let seconds = MonotonicTime.current().since(began).seconds
    var json = JSONWriter(capacity: hash.count + (isSecret ? 0 : input.count) + 128)
    json.object { json in
      if !isSecret { json.field("original_string", input) }
      json.key(resultField)
      json.string(hash)
      json.key("execution_time_seconds")
      json.raw(HashKind.decimal(seconds))
    }
    return json.bytes
  }

  /// Seconds with nine decimals and no exponent, as people read them.
  private static func decimal(_ seconds: Double) -> [UInt8] {
    let nanoseconds = UInt64(seconds * 1e9)
    let fraction = String(nanoseconds % 1_000_000_000)
    return Array("\(nanoseconds / 1_000_000_000).\(String(repeating: "0", count: 9 - fraction.count))\(fraction)".utf8)
  }

  /// 32 bytes that are the same for the same kind and input, and differ for any other pair: what an identical task is
  /// found by. Nil for a secret kind.
  public func digest(of input: [UInt8]) -> Digest256? {
    if isSecret { return nil }
    return SHA256.digest(of: Array(name.utf8) + [0] + input)
  }

  /// The key of a cached result in Redis, `millrace:hash:<kind>:<hex of SHA-256(input)>`. Nil for a secret kind.
  public func cacheKey(of input: [UInt8]) -> [UInt8]? {
    if isSecret { return nil }
    return Array("millrace:hash:\(name):".utf8) + SHA256.digest(of: input).hex
  }
}
