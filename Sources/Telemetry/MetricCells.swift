import Basics
import CLinux
import Glibc
import Synchronization

/// The memory behind all metrics of the process: for each thread a block of 64-bit cells, a metric being an index that
/// means the same in every block. A thread adds to its own block without lock or atomic read-modify-write; a reader
/// sums over the blocks. Blocks outlive their threads, so that nothing counted is ever lost.
///
///     thread 0: | cell 0 | cell 1 | … |
///     thread 1: | cell 0 | cell 1 | … |      value of a counter at cell 1 = sum of the column
enum MetricCells {
  /// Cells in a block: bounds the number of counters and histogram buckets of a process.
  static let cellsMax = 65_536
  /// Threads with a block of their own; any later thread shares the last block and pays an atomic add.
  static let blocksMax = 64

  private struct State {
    var cellsUsed = 0
    // Safe because: blocks are allocated under the lock, never freed and never moved.
    nonisolated(unsafe) var blocks: [UnsafeMutablePointer<UInt64>] = []
  }
  private static let state = Locked(State())
  /// The last block, shared by threads past `blocksMax`; 0 while there are fewer.
  private static let sharedBlock = Atomic<UInt>(0)

  /// Reserves `count` neighbouring cells and returns the index of the first.
  static func allocate(_ count: Int) -> Int {
    state.withLock { state in
      precondition(state.cellsUsed + count <= cellsMax, "more than \(cellsMax) metric cells in one process")
      defer { state.cellsUsed += count }
      return state.cellsUsed
    }
  }

  /// Adds `amount` to the calling thread's `cell`.
  @inline(__always)
  static func add(_ cell: Int, _ amount: UInt64) {
    let block = clinux_thread_cells() ?? adoptBlock()
    if UInt(bitPattern: block) == sharedBlock.load(ordering: .relaxed) {
      clinux_cell_add_shared(block + cell, amount)
    } else {
      clinux_cell_add(block + cell, amount)
    }
  }

  /// The sum of `cell` over all threads.
  static func total(_ cell: Int) -> UInt64 {
    state.withLock { state in
      state.blocks.reduce(0) { $0 &+ clinux_cell_load($1 + cell) }
    }
  }

  @inline(never)
  private static func adoptBlock() -> UnsafeMutablePointer<UInt64> {
    let block = state.withLock { state in
      if state.blocks.count == blocksMax { return UInt(bitPattern: state.blocks[blocksMax - 1]) }
      // The kernel's zeroed pages: only cells that are used take up memory.
      let zeroed = calloc(cellsMax, MemoryLayout<UInt64>.stride)
      guard let block = zeroed?.assumingMemoryBound(to: UInt64.self) else { fatalError("out of memory") }
      state.blocks.append(block)
      if state.blocks.count == blocksMax { sharedBlock.store(UInt(bitPattern: block), ordering: .relaxed) }
      return UInt(bitPattern: block)
    }
    let pointer = UnsafeMutablePointer<UInt64>(bitPattern: block)!
    clinux_set_thread_cells(pointer)
    return pointer
  }
}
