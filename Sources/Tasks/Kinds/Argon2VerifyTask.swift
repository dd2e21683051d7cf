public import Basics
import Hashing

extension TaskKind {
  /// Whether a password is the one that an argon2id hash was made of.
  public static let argon2verify = TaskKind(
    name: "argon2verify", displayName: "Argon2 verification", isSecret: true, isShared: false,
    lines: [TaskLine(6, .heavy)],
    line: { _ in TaskLine(6, .heavy) }, memoryBytes: { Argon2Verification.memoryBytesMax($0) },
    work: .computing({ (input, parameters) throws(TaskFault) in
      guard var wish = try? Argon2Verification(body: input) else {
        throw TaskFault("the input is not understood", isFinal: true)
      }
      defer { wish.wipe() }
      guard wish.record.parameters.bytes <= Argon2Verification.memoryBytesMax(parameters) else {
        throw TaskFault("the hash takes more memory than this worker gives one", isFinal: true)
      }
      do throws(HashingError) {
        var json = JSONWriter(capacity: 16)
        let isValid = try wish.record.matches(wish.password)
        json.object { json in json.field("valid", isValid) }
        return json.bytes
      } catch {
        throw TaskFault("out of memory or threads", isFinal: false)
      }
    }))
}

/// What a client wants to know of a password and a hash: `{"string":"secret","hash":"$argon2id$…"}`.
public struct Argon2Verification: Sendable {
  private(set) var password: [UInt8]
  let record: Argon2Record

  private static let fields = JSONFields("string", "hash")

  /// The wish that is told by a request's `body`, JSON.
  /// - Throws: `JSONError` if it is none, or the hash is none or beyond what is ever computed.
  public init(body: [UInt8]) throws(JSONError) {
    var (password, record) = ([UInt8]?.none, Argon2Record?.none)
    try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
      try scanner.object(Argon2Verification.fields) { (scanner, field) throws(JSONError) in
        if field == 0 {
          password = try scanner.string()
          return
        }
        record = Argon2Record(try scanner.string())
        if record == nil { throw scanner.wrongShape("is no argon2id hash, or one that costs too much to verify") }
      }
      _ = try scanner.required(password?.count, "string")
      _ = try scanner.required(record?.parameters, "hash")
    }
    guard let password, let record else { preconditionFailure("a verification was read without its fields") }
    self.password = password
    self.record = record
  }

  /// Nobody needs the password any more.
  public mutating func wipe() { SecretBytes.wipe(&password) }

  /// Memory that it takes to verify the hash.
  public var memoryBytes: Int { record.parameters.bytes }

  /// Memory that a verification may take where `parameters` are configured: as much as making a hash takes there.
  public static func memoryBytesMax(_ parameters: TaskParameters) -> Int { parameters.argon2.bytes }
}
