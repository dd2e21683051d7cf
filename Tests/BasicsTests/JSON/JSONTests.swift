@testable import Basics
import Testing

@Suite("JSON", .timeLimit(.minutes(5))) struct JSONTests {
  private static let fields = JSONFields("string", "hash")

  private func readString(_ text: some Sequence<UInt8>) throws(JSONError) -> [UInt8] {
    try JSONScanner.read(Array(text)) { (scanner: inout JSONScanner) throws(JSONError) in
      var value: [UInt8]?
      try scanner.object(Self.fields) { (scanner: inout JSONScanner, index: Int) throws(JSONError) in
        if index == 0 { value = try scanner.string() } else { try scanner.skip() }
      }
      return try scanner.required(value, "string")
    }
  }

  @Test(
    "a wanted string comes out decoded",
    arguments: [
      (#"{"string":"hello world"}"#, "hello world"),
      (" \t\r\n{ \"string\" : \"\" } \n", ""),
      (#"{"a":[1,{"string":"no"},null],"string":"yes","b":{}}"#, "yes"),
      (#"{"string":"\"\\\/\b\f\n\r\tx"}"#, "\"\\/\u{8}\u{C}\n\r\tx"),
      (#"{"string":"\u00e4\u20AC\ud83d\ude00"}"#, "ä€😀"),
      (#"{"string":"ä€😀"}"#, "ä€😀"),
      (#"{"\u0073tring":"escaped name"}"#, "escaped name"),
      (#"{"string":"\u0000"}"#, "\u{0}"),
    ])
  func strings(_ json: String, _ expected: String) throws {
    #expect(try readString(json.utf8) == Array(expected.utf8))
  }

  @Test(
    "what is not JSON is told as such",
    arguments: [
      "", " ", "{", "{\"string\"}", "{\"string\":}", "{\"string\":\"a}", "{\"string\":\"a\"", "{\"string\":\"a\",}",
      "{\"string\":\"a\"}x", "{\"string\":\"a\"}{}", "{'string':'a'}", "{string:1}", #"{"string":"\x"}"#,
      #"{"string":"\u12"}"#, #"{"string":"\ud800"}"#, #"{"string":"\ud800x"}"#, #"{"string":"\udc00"}"#,
      #"{"string":"\ud800\ud800"}"#, "{\"string\":\"a\nb\"}", "{\"string\":\"\u{1}\"}", "{\"a\":01}", "{\"a\":1.}",
      "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":tru}", "{\"a\":nul}", "{\"a\":NaN}", "[1,]",
      "[1 2]", "// x\n{}", "\u{FEFF}{}", "{\"string\":5",
    ])
  func notJSON(_ json: String) {
    #expect(kind(json.utf8) == .notJSON)
  }

  @Test("bytes that are not UTF-8 are no JSON")
  func notUTF8() {
    let broken: [[UInt8]] = [
      [0x80], [0xC0, 0x80], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82],
      [0xF0, 0x80, 0x80, 0x80],
      [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF],
    ]
    for bytes in broken {
      #expect(kind(Array("{\"string\":\"".utf8) + bytes + Array("\"}".utf8)) == .notJSON, "\(bytes)")
    }
  }

  @Test(
    "JSON of another shape is told as such, with the field",
    arguments: [
      ("[]", ""), ("5", ""), ("\"x\"", ""), ("null", ""), ("{}", "string"), ("{\"string\":5}", "string"),
      ("{\"string\":null}", "string"), ("{\"string\":[\"a\"]}", "string"),
      ("{\"string\":\"a\",\"string\":\"a\"}", "string"),
      (#"{"string":"a","str\u0069ng":"a"}"#, "string"),
    ])
  func wrongShape(_ json: String, _ field: String) {
    #expect(kind(json.utf8) == .wrongShape)
    let error = #expect(throws: JSONError.self) { try readString(json.utf8) }
    #expect(error?.field.description == field)
  }

  private func kind(_ json: some Sequence<UInt8>) -> JSONError.Kind? {
    do throws(JSONError) {
      _ = try readString(json)
      return nil
    } catch { return error.kind }
  }

  @Test("nesting stops at the limit, however deep the bracket bomb")
  func depth() {
    func nested(_ depth: Int) -> [UInt8] {
      Array(("{\"a\":" + String(repeating: "[", count: depth - 1)).utf8)
        + Array((String(repeating: "]", count: depth - 1) + ",\"string\":\"x\"}").utf8)
    }
    #expect(kind(nested(JSONScanner.depthMax)) == nil)
    #expect(kind(nested(JSONScanner.depthMax + 1)) == .notJSON)
    #expect(kind(Array(repeating: 0x5B, count: 1_000_000)) == .notJSON)
  }

  @Test("numbers keep their value and refuse what does not fit")
  func numbers() throws {
    func integer(_ text: String) throws -> Int {
      try JSONScanner.read(Array(text.utf8)) { (s: inout JSONScanner) throws(JSONError) in try s.integer() }
    }
    func double(_ text: String) throws -> Double {
      try JSONScanner.read(Array(text.utf8)) { (s: inout JSONScanner) throws(JSONError) in try s.double() }
    }
    #expect(try integer("0") == 0)
    #expect(try integer("-12") == -12)
    #expect(try integer("9223372036854775807") == .max)
    #expect(try integer("-9223372036854775808") == .min)
    for text in ["9223372036854775808", "-9223372036854775809", "1.0", "1e3", "true"] {
      #expect(throws: JSONError.self, "\(text)") { try integer(text) }
    }
    #expect(try double("-2.5e-3") == -0.0025)
    #expect(throws: JSONError.self) { try double("1e999") }
  }

  @Test("what the writer writes, the scanner reads back")
  func roundTrip() throws {
    var random = SeededRandom(seed: 7)
    for _ in 0..<2000 {
      let text = String(
        String.UnicodeScalarView(
          (0..<Int.random(in: 0...20, using: &random)).compactMap { _ in
            Unicode.Scalar(UInt32.random(in: 0...(Bool.random(using: &random) ? 0x7F : 0x10FFFF), using: &random))
          }))
      var writer = JSONWriter()
      writer.object {
        $0.field("other", 1.5)
        $0.field("string", text)
        $0.field("flag", true)
        $0.key("list")
        $0.array {
          $0.integer(1)
          $0.null()
        }
      }
      #expect(try readString(writer.bytes) == Array(text.utf8))
    }
  }

  @Test("cut or changed at any byte, a text is read or refused, never trapped over")
  func mutations() {
    let seed = Array(#"{"a":[1,-2.5e3,{"b":null}],"string":"x\ud83d\ude00ä","c":true}"#.utf8)
    for place in seed.indices {
      #expect(kind(seed[..<place]) == .notJSON, "cut at \(place)")
      for value in UInt8.min...UInt8.max {
        var changed = seed
        changed[place] = value
        _ = kind(changed)
      }
    }
  }
}
