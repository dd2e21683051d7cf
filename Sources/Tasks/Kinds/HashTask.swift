import Basics
import Hashing

/// Makes kinds of tasks from functions that hash.
enum HashTask {
  /// A kind that hashes its input with `hash` and shows it in `resultField`, beside the input unless that is a secret.
  static func kind(
    name: String, displayName: String, resultField: String, isHeavy: Bool = false, isSecret: Bool = false,
    memoryBytes: @escaping @Sendable (TaskParameters) -> Int = { _ in 0 },
    hash: @escaping @Sendable ([UInt8], TaskParameters) throws(HashingError) -> [UInt8]
  ) -> TaskKind {
    TaskKind(
      name: name, displayName: displayName, isSecret: isSecret,
      slots: { isHeavy ? .heavy : $0 >= Limits.bulkyBytes ? .bulky : .quick }, memoryBytes: memoryBytes,
      work: .computing({ (input, parameters) throws(TaskFault) in
        let began = MonotonicTime.current()
        let text: [UInt8]
        do throws(HashingError) {
          text = try hash(input, parameters)
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

  private static func result(_ hash: [UInt8], in field: String, of input: [UInt8]?, seconds: Double) -> [UInt8] {
    var json = JSONWriter(capacity: hash.count + (input?.count ?? 0) + 128)
    json.object { json in
      if let input { json.field("original_string", input) }
      json.key(field)
      json.string(hash)
      json.key("execution_time_seconds")
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
