import Testing

/// The tidy test looks at text, so it could well see nothing at all: each of its checks is shown a fault of its kind,
/// and beside it what only looks like one.
@Suite(.timeLimit(.minutes(5))) struct TidyTestsTests {
  private let house = House(
    manifest: """
      targets: [
        // Floor 0: C.
        .target(name: "CLinux"),
        // Floor 1: below.
        room("Basics", ["CLinux"]),
        room("Reactor", ["CLinux", "Basics"]),
        // Floor 2: protocols.
        room("HTTP", ["Basics", "Reactor"]),
        // Tests
      """)

  @Test func findsLongFilesAndLines() {
    let tree = SourceTree([
      "Sources/A/Long.swift": String(repeating: "\n", count: 400),
      "Sources/A/Right.swift": String(repeating: "\n", count: 399),
      "Tests/A/Long.swift": String(repeating: "\n", count: 600),
      "Sources/A/Wide.swift": String(repeating: "x", count: 121),
    ])
    #expect(
      tree.longFiles().map { $0.prefix { $0 != " " } } == [
        "Sources/A/Long.swift", "Tests/A/Long.swift", "Sources/A/Wide.swift:1",
      ])
  }

  @Test func findsLongFunctions() {
    let body = String(repeating: "    work()\n", count: 69)
    let tree = SourceTree([
      "Sources/A/A.swift": "struct A {\n  func long() {\n\(body)  }\n  func short() {\n    work()\n  }\n}"
    ])
    #expect(tree.files[0].functions.map(\.length) == [71, 3])
    #expect(tree.longFunctions().count == 1)
  }

  @Test func findsCrowdedFolders() {
    func tree(_ count: Int) -> [String] {
      let paths = (0..<count).map { "Sources/A/Inside/F\($0).swift" } + ["Sources/A/A.swift"]
      return SourceTree(files: paths.map { SourceTree.File(path: $0, lines: []) }).crowdedFolders()
    }
    #expect(tree(10).isEmpty)
    #expect(tree(11).count == 1)
  }

  @Test func findsImportsFromAboveAndUnnamedOnes() {
    let tree = SourceTree([
      "Sources/HTTP/A.swift": "public import Basics\nimport Reactor\nimport Glibc",
      "Sources/Reactor/A.swift": "import HTTP",
      "Sources/Basics/A.swift": "@testable import Reactor",
      "Sources/Nowhere/A.swift": "",
    ])
    let faults = tree.importsFromAbove(house)
    // Each of the two imports is from above, and named by nobody.
    #expect(faults.count == 5)
    #expect(faults.filter { $0.contains("Sources/HTTP") }.isEmpty)
    #expect(faults.contains("Nowhere is not in Package.swift"))
  }

  @Test func findsWhatNobodyDependsOn() {
    let tree = SourceTree(["Sources/HTTP/A.swift": "import Basics", "Sources/Basics/A.swift": "import CLinux"])
    #expect(
      tree.idleDependencies(house, but: "HTTP") == ["HTTP names Reactor in Package.swift and never imports it"])
    #expect(tree.idleDependencies(house, but: "").contains("nothing depends on HTTP"))
  }

  @Test func findsImportsOfWhatDecides() {
    let tree = SourceTree([
      "Sources/A/Rule.swift": "import Basics\nimport Reactor", "Sources/B/C/Rule.swift": "import Glibc",
      "Sources/A/Other.swift": "import Reactor",
    ])
    #expect(tree.impurities(in: ["Sources/A/Rule.swift", "Sources/B", "Sources/Moved.swift"]).count == 3)
    #expect(tree.importers(of: "React").count == 2)
  }

  @Test func findsPublicDeclarationsThatNobodyCalls() {
    let tree = SourceTree([
      "Sources/A/A.swift": """
      /// It names unnamed, orphan and lonely, in a comment.
      public struct Shown {
        public var orphan: Int
        @inlinable public static func lonely(label: Needed = Defaults.first) -> Result { orphan }
        public private(set) var met = 0
        var hidden = 0
      }
      public enum Needed {
        case one(Payload)
      }
      public enum Defaults { public static let first = Needed.one }
      public struct Payload {}
      public struct Result {}
      public protocol Asked {
        func ask(_ what: Question)
      }
      public struct Question {}
      public var excused = 0
      """,
      "Sources/B/B.swift": "let a = Shown().met, b: any Asked",
      "Tests/ATests/A.swift": "lonely(label: orphan)",
    ])
    let faults = tree.uncalledPublics(exceptions: ["excused": "because", "met": "no longer"])
    #expect(faults.count == 3)
    #expect(faults.contains { $0.hasPrefix("Sources/A/A.swift:3 declares orphan") })
    #expect(faults.contains { $0.hasPrefix("Sources/A/A.swift:4 declares lonely") })
    #expect(faults.contains("met is listed as an exception and is none"))
  }

  @Test func findsCirclesOfTypes() {
    let tree = SourceTree([
      "Sources/A/First.swift": "struct First { let second: Second }",
      "Sources/A/Second+More.swift": "extension Second { func f(_ third: Third) {} }",
      "Sources/A/Second.swift": "struct Second {}",
      "Sources/A/Third.swift": "enum Third { case first(First) }\n// Fourth",
      "Sources/A/Fourth.swift": "final class Fourth { var third = Third() /* leads nowhere */ }",
      "Sources/B/Fifth.swift": "struct Fifth { let name = \"Sixth\" }",
      "Sources/B/Sixth.swift": "struct Sixth { let fifth: Fifth }",
    ])
    #expect(tree.circles(but: []) == ["A: First names Second names Third names First"])
    let reason = "a reason that is long enough"
    #expect(tree.circles(but: [.init("A", "Third", names: "First", because: reason)]).isEmpty)
    #expect(tree.circles(but: [.init("A", "Third", names: "First", because: "")]).count == 1)
    #expect(tree.circles(but: [.init("A", "First", names: "Third", because: reason)]).count == 2)
  }

  @Test func findsEscapesNotesAndDoors() {
    let tree = SourceTree([
      "Sources/HTTP/HTTP.swift": "// HTTP: speaks.\n//\n// Calls.\n// Called.\nimport Basics",
      "Sources/Basics/Basics.swift": "// Basics",
      "Sources/HTTP/A.swift":
        "struct A: @unchecked Sendable {}\n\n\n\n\n\n// Safe because: one\nnonisolated(unsafe) var b",
      "Tests/A/A.swift": "// TO" + "DO: later",
    ])
    #expect(tree.escapes().count == 2)
    #expect(tree.escapes().withoutReason == ["Sources/HTTP/A.swift:1 does not say 'Safe because: …'"])
    #expect(tree.thingsLeftForLater().count == 1)
    #expect(tree.roomsWithoutDoor(house).count == 2)
  }

  @Test func findsTestsWithoutATimeLimit() {
    let tree = SourceTree([
      "Tests/A/Suite.swift": "@Suite(.serialized) struct A {\n  @Test func a() {}\n}",
      "Tests/A/Limited.swift": "@Suite(.serialized, .timeLimit(.minutes(5))) struct B {\n  @Test func a() {}\n}",
      "Tests/A/Part.swift": "extension B {\n  @Test func b() {}\n}",
      "Tests/A/Free.swift": "@Test func c() {}\n@Test(\n  .timeLimit(.minutes(5))) func d() {}",
      "Tests/A/Bare.swift": "struct C {\n  @Test func e() {}\n}",
    ])
    #expect(
      tree.testsWithoutTimeLimit().map { $0.prefix { $0 != " " } } == [
        "Tests/A/Suite.swift:1", "Tests/A/Free.swift:1", "Tests/A/Bare.swift:2",
      ])
  }
}
