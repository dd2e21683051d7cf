import Foundation
import TestSupport
import Testing

/// What the article `HouseStyle` asks of the source text, so that nobody has to watch over it.
@Suite(.timeLimit(.minutes(15))) struct TidyTests {
  private let tree = SourceTree()

  private func house() throws -> House {
    House(manifest: try String(contentsOfFile: tree.root + "/Package.swift", encoding: .utf8))
  }

  private func expectNone(_ faults: [String], _ location: SourceLocation = #_sourceLocation) {
    for fault in faults { Issue.record("\(fault)", sourceLocation: location) }
  }

  @Test func filesLinesAndFunctionsAreShort() {
    #expect(tree.files.count > 200 && tree.files.map(\.functions.count).reduce(0, +) > 500)
    expectNone(tree.longFiles())
    expectNone(tree.longFunctions())
  }

  @Test func foldersHoldAtMostTenFiles() {
    expectNone(tree.crowdedFolders())
  }

  @Test func roomsImportOnlyWhatStandsBelowThem() throws {
    let house = try house()
    #expect(house.floors.count >= 15)
    expectNone(tree.importsFromAbove(house))
  }

  @Test func everyRoomIsUsedAndEveryFolderIsARoom() throws {
    let house = try house()
    expectNone(tree.idleDependencies(house, but: "Millrace"))
    let folders = try FileManager.default.contentsOfDirectory(atPath: tree.root + "/Sources")
    #expect(Set(folders.filter { !$0.hasPrefix(".") }) == Set(house.floors.keys))
  }

  @Test func whatDecidesImportsNothingThatMovesBytes() {
    expectNone(
      tree.impurities(in: [
        "Sources/Exchange", "Sources/TaskQueue/Waking/WakeProtocol.swift",
        "Sources/TaskQueue/Submitting/BatchPolicy.swift", "Sources/TaskQueue/Working/TakeOverPolicy.swift",
        "Sources/TaskQueue/Working/RetryPolicy.swift", "Sources/Redis/Connection/CircuitBreaker.swift",
      ]))
  }

  @Test func requestPathsDoWithoutFoundation() {
    expectNone(tree.importers(of: "Foundation"))
  }

  @Test func whatIsPublicIsCalledFromOutside() {
    expectNone(
      tree.uncalledPublics(exceptions: [
        "unownedExecutor": "the standard library calls it: Actor",
        "isIsolatingCurrentContext": "the standard library calls it: SerialExecutor",
        "checkIsolated": "the standard library calls it: SerialExecutor",
        "debugDescription": "the standard library calls it: CustomDebugStringConvertible",
        "customMirror": "the standard library calls it: CustomReflectable",
        "bodyReader": "a handler that takes a body as it comes asks for it; those of today take it whole",
      ]))
  }

  @Test func typesNameEachOtherInOneDirection() {
    expectNone(tree.circles(but: Self.upwardNames))
  }

  /// What a type names that stands above it, and why that is the simplest way.
  private static let upwardNames: [SourceTree.UpwardName] = [
    .init("Balancer", "BalancerShared", names: "Operations", because: "the reactors share the endpoints' handler"),
    .init("Balancer", "HTTP1Link", names: "HTTP1Session", because: "tells the session that it serves what came"),
    .init("Balancer", "HTTP1Link", names: "ProxyReactor", because: "its buffers and pool are the reactor's"),
    .init("Balancer", "HTTP1Session", names: "ProxyReactor", because: "performs steps with what its reactor owns"),
    .init("Balancer", "HeadRewriting", names: "HTTP1Session", because: "the part of a session that writes heads"),
    .init("Balancer", "LocalRequest", names: "ProxyReactor", because: "the part of a session that answers itself"),
    .init("Balancer", "WaitingLine", names: "HTTP1Session", because: "sessions wait in it, by their own links"),
    .init("HTTP", "HTTPConnection", names: "HTTPServer", because: "has its settings, and says goodbye to it"),
    .init("HTTP", "Route", names: "Router", because: "an action is spelled with the router's context"),
    .init("HTTPSyntax", "ChunkedDecoder", names: "BodyDecoder", because: "both tell the same kind of events"),
    .init("Reactor", "EventHandler", names: "Reactor", because: "is called on the reactor, which calls it"),
    .init("Reactor", "EventHandler", names: "TimerHeap", because: "is told which timer fired"),
    .init("Reactor", "Pause", names: "Reactor", because: "a task that sleeps is a timer's handler"),
    .init("Reactor", "ReactorThread", names: "Reactor", because: "runs the loop of a reactor, which starts it"),
  ]

  @Test func everyEscapeFromTheCompilersChecksGivesItsReason() {
    // Raise it only with a reason that a reader can check, and lower it whenever one goes.
    let escapesMax = 17
    let escapes = tree.escapes()
    expectNone(escapes.withoutReason)
    #expect(escapes.count <= escapesMax, "\(escapes.count) escapes, \(escapesMax) are allowed")
    #expect(escapes.count == escapesMax, "there are only \(escapes.count) escapes left: lower the threshold")
  }

  @Test func nothingIsLeftForLater() {
    expectNone(tree.thingsLeftForLater())
  }

  @Test func everyTestHasATimeLimit() {
    expectNone(tree.testsWithoutTimeLimit())
  }

  @Test func everyRoomSaysAtItsDoorWhatItIsFor() throws {
    expectNone(tree.roomsWithoutDoor(try house()))
  }

  @Test func theFormatterHasNothingToSay() throws {
    let folder = TemporaryFolder()
    let log = folder.path + "/log"
    let format = "swift format lint --strict --parallel --recursive Sources Tests"
    let process = try ChildProcess.start(
      "/bin/sh", ["-c", "cd \"$0\" && \(format) > \"$1\" 2>&1", tree.root, log])
    let end = ChildProcess.waitForEnd(of: process)
    let said = try String(contentsOfFile: log, encoding: .utf8)
    #expect(end == (0, 0), "\(said)")
  }
}
