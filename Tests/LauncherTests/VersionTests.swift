import Foundation
import Glibc
import TestSupport
import Testing

@testable import Launcher
@testable import Millrace

@Suite(.timeLimit(.minutes(5))) struct VersionTests {
  @Test(arguments: [
    ("Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=a3fdef44459b3ad6", "6.0.16"),
    ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", "15.14"), ("postgres (PostgreSQL) 17beta1", "17"),
    ("", ""), ("none", ""),
  ]) func aVersionIsFoundInWhatAProgramSays(text: String, version: String) {
    #expect(ForeignProgram.number(in: text) == version)
  }

  @Test func anOldVersionGetsASentence() {
    let complaint = ForeignProgram.complaint("Redis", version: "6.0.16", major: 7)
    #expect(complaint == "this is Redis 6.0.16, and 7 or later is needed")
    #expect(ForeignProgram.complaint("Redis", version: "7.0.15", major: 7) == nil)
    #expect(ForeignProgram.complaint("PostgreSQL", version: "14", major: 15) != nil)
    // One that does not tell is tried.
    #expect(ForeignProgram.complaint("PostgreSQL", version: "", major: 15) == nil)
  }

  @Test func anOldRedisStopsTheStartWithThatSentence() async throws {
    let folder = TemporaryFolder()
    let script = folder.path + "/redis-server"
    try "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n".write(toFile: script, atomically: false, encoding: .utf8)
    chmod(script, 0o755)
    let system = try System(preparation: "PATH=\(folder.path):$PATH; export PATH")
    defer { system.remove() }
    #expect(await system.waitForEnd() == 75)
    #expect(system.output.contains("this is Redis 6.0.16, and 7 or later is needed"), "\(system.output)")
  }

  @Test func whatTheKernelSaysIsUnderstood() {
    func kernel(_ text: String?) -> Kernel { Kernel { _ in text } }
    #expect(kernel("always [madvise] never\n").hugePages.detail == "madvise")
    #expect(kernel("always [madvise] never\n").hugePages.remedy == nil)
    #expect(kernel("always madvise [never]\n").hugePages.remedy != nil)
    #expect(kernel(nil).hugePages.detail == "not known")
    #expect(kernel("2\n").overcommit.remedy == "sysctl vm.overcommit_memory=0")
    #expect(kernel("0\n").overcommit.remedy == nil && kernel("1\n").overcommit.remedy == nil)
    let text = "processor\t: 0\nflags\t\t: fpu aes avx2\n\nprocessor\t: 1\nflags\t\t: fpu aes avx2\n"
    #expect(kernel(text).processor.detail == "2, with avx2, aes")
    #expect(kernel(nil).processor.detail == "0")
  }
}
