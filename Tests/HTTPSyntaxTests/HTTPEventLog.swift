import HTTPSyntax

/// Reads a stream of requests or responses piece by piece, as a connection would, and writes down what the parser said.
/// The log must not depend on where the stream was cut.
struct HTTPEventLog {
  private(set) var lines: [String] = []
  private(set) var hasFailed = false

  private enum Phase {
    case head
    case body(BodyDecoder)
  }
  private var buffer: [UInt8] = []
  private var phase = Phase.head
  private var body: [UInt8] = []
  private let answering: HTTPMethod?
  private let request = RequestHead()
  private let response = ResponseHead()

  /// A log of requests, or of responses to requests made with `answering`.
  init(answering: HTTPMethod? = nil) {
    self.answering = answering
  }

  /// Takes the next piece of the stream.
  mutating func take(_ piece: some Sequence<UInt8>) {
    buffer += piece
    while !hasFailed, step() {}
  }

  /// Ends the stream: tells whether it ended inside a message.
  mutating func finish() {
    if hasFailed { return }
    if case .body(let decoder) = phase, decoder.endsWithConnection { return endBody() }
    if case .head = phase { return buffer.isEmpty ? () : lines.append("incomplete head") }
    lines.append("incomplete body \(HTTPEventLog.visible(body))")
  }

  /// Whether there was enough to go on with.
  private mutating func step() -> Bool {
    switch phase {
    case .head: return takeHead()
    case .body(let decoder): return takeBody(decoder)
    }
  }

  private mutating func takeHead() -> Bool {
    guard !buffer.isEmpty else { return false }
    let result = answering.map { response.parse(buffer.span, answering: $0) } ?? request.parse(buffer.span)
    switch result {
    case .incomplete: return false
    case .malformed(let error):
      fail(error)
      return false
    case .complete(let bytes):
      let framing = answering == nil ? describeRequest() : describeResponse()
      buffer.removeFirst(bytes)
      request.reset()
      response.reset()
      phase = framing == .none ? .head : .body(BodyDecoder(framing))
      return true
    }
  }

  private mutating func takeBody(_ start: BodyDecoder) -> Bool {
    var decoder = start
    var position = 0
    while true {
      switch decoder.next(buffer.span, from: position) {
      case .data(let range):
        body += buffer[range]
        position = range.upperBound
        guard decoder.isComplete else { continue }
        buffer.removeFirst(position)
        endBody()
        return !buffer.isEmpty
      case .incomplete:
        buffer = []
        phase = .body(decoder)
        return false
      case .complete(let next):
        buffer.removeFirst(next)
        endBody()
        return !buffer.isEmpty
      case .malformed(let error):
        fail(error)
        return false
      }
    }
  }

  private mutating func endBody() {
    lines.append("body \(HTTPEventLog.visible(body))")
    body = []
    phase = .head
  }

  private mutating func fail(_ error: HeadError) {
    if !body.isEmpty { lines.append("partial body \(HTTPEventLog.visible(body))") }
    lines.append("error \(error) \(error.status)")
    hasFailed = true
  }

  private mutating func describeRequest() -> BodyFraming {
    let path = request.path.isEmpty ? "/" : text(request.path)
    var line = "\(text(request.methodName)) \(path)\(text(request.query)) for '\(text(request.authority))'"
    line += " 1.\(request.minorVersion) \(request.framing) \(request.keepsAlive ? "keep" : "close")"
    if request.expectsContinue { line += " continue" }
    lines.append(line)
    for index in 0..<request.fieldCount {
      let dropped = request.namesHopByHopFields && request.connectionNames(request[index].name, in: buffer.span)
      describe(request[index], isDropped: dropped)
    }
    return request.framing
  }

  private mutating func describeResponse() -> BodyFraming {
    var line = "\(response.status) '\(text(response.reason))' 1.\(response.minorVersion) \(response.framing)"
    line += " \(response.keepsAlive ? "keep" : "close")"
    if response.isInterim { line += " interim" }
    lines.append(line)
    for index in 0..<response.fieldCount {
      let dropped = response.namesHopByHopFields && response.connectionNames(response[index].name, in: buffer.span)
      describe(response[index], isDropped: dropped)
    }
    return response.framing
  }

  private mutating func describe(_ field: HeadField, isDropped: Bool) {
    let drop = isDropped || field.known.isHopByHop ? " [drop]" : ""
    lines.append("  \(text(field.name))=\(text(field.value))\(drop)")
  }

  private func text(_ range: Range<Int>) -> String { HTTPEventLog.visible(Array(buffer[range])) }

  /// Printable ASCII as it is, the rest as `\xHH`; long texts shortened.
  static func visible(_ bytes: [UInt8]) -> String {
    if bytes.count > 200 { return "(\(bytes.count) bytes)" }
    return bytes.map { byte in
      if byte >= 0x20 && byte < 0x7F { return String(UnicodeScalar(byte)) }
      let digits = String(byte, radix: 16)
      return "\\x" + (digits.count < 2 ? "0" : "") + digits
    }.joined()
  }
}
