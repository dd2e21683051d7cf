import Basics
import Hashing

/// Makes kinds of tasks from functions that hash.
enum HashTask {
  /// A kind that hashes its input with `compute` and shows it in `resultField`, beside the input unless that is a
  /// secret.
  ///
  /// Of two lines the second is that of bulky inputs.
  ///
  /// A result fits an input if it is exactly what `result` writes: its fields in their order and nothing else, the same
  /// input, and a hash of which `isHash` says that it has the form. With `isCheap` it is computed again instead,
  /// which for a MiB takes a millisecond or two, once in the life of an entry in memory.
  static func kind(
    name: String, displayName: String, lines: [TaskLine], resultField: StaticString, isSecret: Bool = false,
    isCheap: Bool = false, isHash: @escaping @Sendable ([UInt8]) -> Bool,
    memoryBytes: @escaping @Sendable (TaskParameters) -> Int = { _ in 0 },
    compute: @escaping @Sendable ([UInt8], TaskParameters) throws(HashingError) -> [UInt8]
  ) -> TaskKind {
    TaskKind(
      name: name, displayName: displayName, isSecret: isSecret, isShared: !isSecret,
      lines: lines, line: { $0 >= Limits.bulkyBytes ? lines[lines.count - 1] : lines[0] }, memoryBytes: memoryBytes,
      accepts: { result, input in
        // Nothing but blanks could make it longer than each byte escaped in six, and the fields.
        guard result.count <= 6 * input.count + 512,
          let hash = HashTask.hash(in: result, field: resultField, of: isSecret ? nil : input)
        else { return false }
        return isCheap ? (try? compute(input, TaskParameters())) == hash : isHash(hash)
      },
      work: .computing({ (input, parameters) throws(TaskFault) in
        let began = MonotonicTime.current()
        let text: [UInt8]
        do throws(HashingError) {
          text = try compute(input, parameters)
        } catch {
          throw fault(error)
        }
        let seconds = MonotonicTime.current().since(began).seconds
        return result(text, in: resultField, of: isSecret ? nil : input, seconds: seconds)
      }))
  }

  private static func fault(_ error: HashingError) -> TaskFault {
    switch error {
    case .invalidParameters: TaskFault("the argon2 parameters are not valid", isFinal: true)
    default: TaskFault("out of memory or threads", isFinal: false)
    }
  }

  private static let timeField: StaticString = "execution_time_seconds"

  /// The hash that `result` tells; nil unless it has all of the fields once and no other, and tells of `input`.
  private static func hash(in result: [UInt8], field: StaticString, of input: [UInt8]?) -> [UInt8]? {
    try? JSONScanner.read(result) { (scanner: inout JSONScanner) throws(JSONError) -> [UInt8]? in
      var (hash, isTimed, isOfInput) = ([UInt8]?.none, false, input == nil)
      let fields = JSONFields("original_string", field, timeField)
      try scanner.object(fields, isExact: true) { (scanner, index) throws(JSONError) in
        switch index {
        case 0: isOfInput = try scanner.string() == input
        case 1: hash = try scanner.string()
        default: isTimed = try scanner.double() >= 0
        }
      }
      return isTimed && isOfInput ? hash : nil
    }
  }

  /// Whether `hash` is `count` digits in hexadecimal, lower case.
  static func isHex(_ hash: [UInt8], _ count: Int) -> Bool {
    hash.count == count && hash.allSatisfy { 0x30...0x39 ~= $0 || 0x61...0x66 ~= $0 }
  }

  private static func result(_ hash: [UInt8], in field: StaticString, of input: [UInt8]?, seconds: Double) -> [UInt8] {
    var json = JSONWriter(capacity: hash.count + (input?.count ?? 0) + 128)
    json.object { json in
      if let input { json.field("original_string", input) }
      json.key(field)
      json.string(hash)
      json.key(timeField)
      json.raw(decimal(seconds))
    }
    return json.bytes
  }

  /// Seconds with nine decimals and no exponent, as people read them.
  private static func decimal(_ seconds: Double) -> [UInt8] {
    let nanoseconds = UInt64(seconds * 1e9)
    let fraction = String(nanoseconds % 1_000_000_000)
    return Array("\(nanoseconds / 1_000_000_000).\(String(repeating: "0", count: 9 - fraction.count))\(fraction)".utf8)
  }
}
