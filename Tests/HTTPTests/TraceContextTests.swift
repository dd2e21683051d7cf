import Testing

@testable import HTTP

@Suite(.timeLimit(.minutes(5))) struct TraceContextTests {
  private static let id = "4bf92f3577b34da6a3ce929d0e0e4736"

  @Test func `a trace is told by a field of this version, and by those of later ones that begin like it`() {
    for field in [
      "00-\(Self.id)-00f067aa0ba902b7-01", "00-\(Self.id)-00f067aa0ba902b7-00", "01-\(Self.id)-00f067aa0ba902b7-01",
      "cc-\(Self.id)-00f067aa0ba902b7-01-what-the-future-brings",
    ] { #expect(TraceContext(Array(field.utf8)[...])?.traceID == Self.id, "\(field)") }
  }

  @Test func `whatever else stands there tells of none`() {
    let zeros = String(repeating: "0", count: 32)
    for field in [
      "", "00", "00-\(Self.id)", "00-\(Self.id)-00f067aa0ba902b7", "00-\(Self.id)-00f067aa0ba902b7-01-",
      "ff-\(Self.id)-00f067aa0ba902b7-01", "00-\(zeros)-00f067aa0ba902b7-01", "00-\(Self.id)-0000000000000000-01",
      "00-\(Self.id.uppercased())-00f067aa0ba902b7-01", "00-\(Self.id)0-00f067aa0ba902b7-01",
      "00-\(Self.id)-00f067aa0ba902b7-1", "0-\(Self.id)-00f067aa0ba902b7-01", "00 \(Self.id) 00f067aa0ba902b7 01",
    ] { #expect(TraceContext(Array(field.utf8)[...]) == nil, "\(field)") }
  }
}
