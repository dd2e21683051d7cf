import Basics
import HTTP
import VersionedStore

/// The body of `POST /batch/{key}`:
/// `{"operations":[{"op":"put","key":"{a}1","value":…,"ttl":60,"if_version":3},{"op":"delete","key":"{a}2"}]}`.
/// `if_version` is the version that the key must have now, 0 for none.
struct BatchBody {
  private static let fields = JSONFields("operations")
  private static let operationFields = JSONFields("op", "key", "value", "ttl", "if_version")

  private(set) var steps: [Change.Step] = []

  /// - Throws: `Problem` 400 for what is no JSON, 413 for a value that is too long, 422 for anything else.
  init(_ body: [UInt8]) throws(Problem) {
    var operations: [Operation] = []
    do throws(JSONError) {
      try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
        var isThere = false
        try scanner.object(BatchBody.fields, isExact: true) { (scanner: inout JSONScanner, _) throws(JSONError) in
          isThere = true
          try scanner.array { (scanner: inout JSONScanner) throws(JSONError) in
            if operations.count == VersionedStore.Limits.stepsMax { throw scanner.wrongShape("there are too many") }
            operations.append(try Operation(&scanner))
          }
        }
        _ = try scanner.required(isThere ? true : nil, "operations")
      }
    } catch {
      throw Problem(error)
    }
    guard !operations.isEmpty else { throw BatchBody.wrong("operations", "there is none") }
    for (index, operation) in operations.enumerated() { steps.append(try operation.step(index)) }
    guard Set(steps.map(\.key)).count == steps.count else { throw BatchBody.wrong("operations", "a key is repeated") }
  }

  fileprivate static func wrong(_ field: String, _ detail: String) -> Problem {
    Problem(422, "The body does not have the expected shape.", errors: [Problem.FieldError(field, detail)])
  }

  private struct Operation {
    var name: [UInt8] = []
    var key: [UInt8] = []
    var value: ArraySlice<UInt8>?
    var seconds: Int?
    var version: Int?

    init(_ scanner: inout JSONScanner) throws(JSONError) {
      try scanner.object(BatchBody.operationFields, isExact: true) { (scanner, field) throws(JSONError) in
        switch field {
        case 0: name = try scanner.string()
        case 1: key = try scanner.string()
        case 2: value = try scanner.skip()
        case 3: seconds = try scanner.integer()
        default: version = try scanner.integer()
        }
      }
    }

    func step(_ index: Int) throws(Problem) -> Change.Step {
      let place = "operations[\(index)]"
      guard let key = StoreKey(utf8: key) else { throw BatchBody.wrong("\(place).key", "is missing or no key") }
      var condition = Condition()
      if let version {
        guard version >= 0 else { throw BatchBody.wrong("\(place).if_version", "is negative") }
        if version == 0 { condition.noneMatch = .any } else { condition.match = .these([Int64(version)]) }
      }
      if name.elementsEqual("put".utf8) {
        guard let value else { throw BatchBody.wrong("\(place).value", "is missing") }
        let lifetime = seconds.flatMap { KeyRequest.seconds(String($0)) }
        guard seconds == nil || lifetime != nil else { throw BatchBody.wrong("\(place).ttl", "is out of range") }
        return Change.Step(key, .put(try StoredValue.checked(value), lifetime: lifetime), if: condition)
      }
      guard name.elementsEqual("delete".utf8) else { throw BatchBody.wrong("\(place).op", "is not put or delete") }
      guard value == nil, seconds == nil else { throw BatchBody.wrong(place, "a delete has no value and no ttl") }
      return Change.Step(key, .delete, if: condition)
    }
  }
}
