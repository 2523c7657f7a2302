// Kotlin coroutines on Dispatchers.Default, whose threads a property of the JVM counts.

import java.net.InetSocketAddress
import java.net.StandardSocketOptions
import java.nio.ByteBuffer
import java.nio.channels.AsynchronousServerSocketChannel
import java.nio.channels.AsynchronousSocketChannel
import java.nio.channels.CompletionHandler
import java.util.concurrent.atomic.AtomicInteger
import java.util.concurrent.atomic.AtomicLong
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlin.time.Duration.Companion.microseconds
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.DelicateCoroutinesApi
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.GlobalScope
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.suspendCancellableCoroutine
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.Semaphore
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.sync.withPermit
import kotlinx.coroutines.withContext
import kotlinx.coroutines.withTimeout
import kotlinx.coroutines.yield

const val SPAWN_N = 1_000_000
const val SPAWN_BATCH = 1_000
const val BURST_N = 1_000_000
const val YIELD_TASKS = 1_000
const val YIELDS = 1_000
const val YIELD_ONE = 1_000_000
const val PING_PONG = 200_000
const val SKYNET_LEAVES = 1_000_000
const val SLEEPERS = 1_000_000
const val SLEEP_MS = 10_000L
const val CHURN_TASKS = 1_000
const val CHURN_SLEEPS = 200
const val CHURN_MAX_US = 5_000L
const val TIMEOUTS = 1_000_000
const val FAR_MS = 3_600_000L
const val MESSAGES = 2_000_000
const val BUFFER = 128
const val LOCK_TASKS = 64
const val LOCK_ITERS = 20_000
const val PERMITS = 10
const val CANCEL_PARENTS = 1_000
const val CANCEL_CHILDREN = 1_000
const val HOPS = 200_000
const val SCOPES = 100_000
const val SCOPE_CHILDREN = 10
const val ECHO_BYTES = 64

fun main(args: Array<String>) {
    val b = Bench(args[0])

    /** Runs [body], on a worker, once per repetition. */
    fun time(ops: Int, body: suspend CoroutineScope.() -> Unit) = b.time(ops) {
        runBlocking(Dispatchers.Default) {
            val t = System.nanoTime()
            body()
            System.nanoTime() - t
        }
    }

    when (b.workload) {
        "spawn_join" -> b.n(SPAWN_N).let { n -> time(n) { spawnJoin(n) } }
        "spawn_burst" -> b.n(BURST_N).let { n -> time(n) { spawnBurst(n) } }
        "yield_many" -> b.each(YIELD_TASKS, YIELDS).let { n -> time(YIELD_TASKS * n) { yields(YIELD_TASKS, n) } }
        "yield_one" -> b.n(YIELD_ONE).let { n -> time(n) { yields(1, n) } }
        "ping_pong" -> b.n(PING_PONG).let { n -> time(n) { pingPong(n) } }
        "skynet" -> b.leaves(SKYNET_LEAVES).let { n ->
            time(treeNodes(n)) { check(async { skynet(0, n) }.await() == sumBelow(n)) }
        }
        "million_sleepers" -> millionSleepers(b)
        "timers_churn" -> timersChurn(b)
        "timeout_ready" -> b.n(TIMEOUTS).let { n ->
            time(n) {
                var sum = 0L
                for (i in 0 until n) sum += withTimeout(FAR_MS) { i }
                check(sum == sumBelow(n))
            }
        }
        "timeout_yield" -> b.n(TIMEOUTS).let { n ->
            time(n) { repeat(n) { withTimeout(FAR_MS) { yield() } } }
        }
        "timeout_wake" -> b.skip("only for Rust's futures")
        "channel_spsc" -> b.n(MESSAGES).let { n -> time(n) { channel(n, 1, 1) } }
        "channel_mpsc" -> b.n(MESSAGES).let { n -> time(n) { channel(n, 4, 1) } }
        "channel_mpmc" -> b.n(MESSAGES).let { n -> time(n) { channel(n, 4, 4) } }
        "mutex" -> b.n(LOCK_ITERS).let { n -> time(LOCK_TASKS * n) { mutex(n, false) } }
        "mutex_yield" -> b.n(LOCK_ITERS).let { n -> time(LOCK_TASKS * n) { mutex(n, true) } }
        "semaphore" -> b.n(LOCK_ITERS).let { n -> time(LOCK_TASKS * n) { semaphore(n, false) } }
        "semaphore_yield" -> b.n(LOCK_ITERS).let { n -> time(LOCK_TASKS * n) { semaphore(n, true) } }
        "cancel_tree" -> b.each(CANCEL_PARENTS, CANCEL_CHILDREN).let { n ->
            b.time(CANCEL_PARENTS * (n + 1)) {
                runBlocking(Dispatchers.Default) { cancelTree(CANCEL_PARENTS, n) }
            }
        }
        "hop" -> b.n(HOPS).let { n ->
            time(n) {
                var sum = 0L
                for (i in 0 until n) sum += withContext(Dispatchers.IO) { i }
                check(sum == sumBelow(n))
            }
        }
        "hop_in_place" -> b.skip("only tokio has it")
        "scope" -> b.n(SCOPES).let { n -> time(n) { repeat(n) { scope() } } }
        "scope_vec" -> b.skip("the same as scope")
        "tcp_echo" -> tcpEcho(b)
        else -> b.skip("unknown workload ${b.workload}")
    }
}

suspend fun spawnJoin(n: Int) = coroutineScope {
    var sum = 0L
    val batch = ArrayList<Deferred<Int>>(SPAWN_BATCH)
    for (from in 0 until n step SPAWN_BATCH) {
        for (i in from until from + SPAWN_BATCH) batch += async { i }
        for (d in batch) sum += d.await()
        batch.clear()
    }
    check(sum == sumBelow(n))
}

@OptIn(DelicateCoroutinesApi::class)
suspend fun spawnBurst(n: Int) {
    val left = AtomicInteger(n)
    val done = CompletableDeferred<Unit>()
    repeat(n) {
        GlobalScope.launch { if (left.decrementAndGet() == 0) done.complete(Unit) }
    }
    done.await()
}

suspend fun yields(tasks: Int, each: Int) = coroutineScope {
    repeat(tasks) { launch { repeat(each) { yield() } } }
}

suspend fun pingPong(n: Int) = coroutineScope {
    val ping = Channel<Int>(Channel.RENDEZVOUS)
    val pong = Channel<Int>(Channel.RENDEZVOUS)
    launch {
        for (i in 0 until n) {
            ping.send(i)
            check(pong.receive() == i)
        }
    }
    launch { repeat(n) { pong.send(ping.receive()) } }
}

suspend fun skynet(base: Int, size: Int): Long {
    if (size == 1) return base.toLong()
    val sub = size / 10
    return coroutineScope {
        val children = Array(10) { i -> async { skynet(base + i * sub, sub) } }
        var sum = 0L
        for (c in children) sum += c.await()
        sum
    }
}

@OptIn(DelicateCoroutinesApi::class)
fun millionSleepers(b: Bench) {
    val n = b.n(SLEEPERS)
    val heapToo = System.getenv("PEERS_LIVE_HEAP") != null
    val extras = sortedMapOf<String, Double>()
    val heap = if (heapToo) liveHeap() else 0.0
    val before = memory("VmRSS")
    val cpu = cpuTime()
    val t = System.nanoTime()
    runBlocking(Dispatchers.Default) {
        val left = AtomicInteger(n)
        val done = CompletableDeferred<Unit>()
        repeat(n) {
            GlobalScope.launch {
                delay(SLEEP_MS)
                if (left.decrementAndGet() == 0) done.complete(Unit)
            }
        }
        if (heapToo) {
            delay(SLEEP_MS / 2)
            extras["live_heap_bytes_per_task"] = (liveHeap() - heap) / n
        }
        done.await()
    }
    extras["wall_ms"] = (System.nanoTime() - t) / 1e6
    val used = cpuTime() - cpu
    extras["cpu_ms"] = used / 1e6
    extras["bytes_per_task"] = (memory("VmHWM") - before) / n
    b.print(n, listOf(used.toDouble() / n), extras)
}

fun timersChurn(b: Bench) {
    val sleeps = b.each(CHURN_TASKS, CHURN_SLEEPS)
    val n = CHURN_TASKS * sleeps
    b.time(n) { extra ->
        val cpu = cpuTime()
        val t = System.nanoTime()
        val late = AtomicLong()
        runBlocking(Dispatchers.Default) {
            repeat(CHURN_TASKS) { task ->
                launch {
                    val draw = Lcg(task.toLong())
                    var own = 0L
                    repeat(sleeps) {
                        val micros = draw.sleepMicros()
                        val from = System.nanoTime()
                        delay(micros.microseconds)
                        own += maxOf(System.nanoTime() - from - micros * 1_000, 0)
                    }
                    late.addAndGet(own)
                }
            }
        }
        extra["mean_late_us"] = late.get() / 1e3 / n
        extra["wall_ms"] = (System.nanoTime() - t) / 1e6
        cpuTime() - cpu
    }
}

suspend fun channel(n: Int, producers: Int, consumers: Int) {
    val c = Channel<Int>(BUFFER)
    val each = n / producers
    val sum = AtomicLong()
    coroutineScope {
        repeat(producers) { launch { for (i in 0 until each) c.send(i) } }
        repeat(consumers) {
            launch {
                var own = 0L
                repeat(each * producers / consumers) { own += c.receive() }
                sum.addAndGet(own)
            }
        }
    }
    check(sum.get() == sumBelow(each) * producers)
}

suspend fun mutex(each: Int, yielding: Boolean) {
    val m = Mutex()
    var held = 0
    coroutineScope {
        repeat(LOCK_TASKS) {
            launch {
                repeat(each) {
                    m.withLock {
                        held++
                        if (yielding) yield()
                    }
                }
            }
        }
    }
    check(held == LOCK_TASKS * each)
}

suspend fun semaphore(each: Int, yielding: Boolean) {
    val s = Semaphore(PERMITS)
    val held = AtomicInteger()
    coroutineScope {
        repeat(LOCK_TASKS) {
            launch {
                repeat(each) {
                    s.withPermit {
                        held.incrementAndGet()
                        if (yielding) yield()
                    }
                }
            }
        }
    }
    check(held.get() == LOCK_TASKS * each)
}

/** Returns the nanoseconds from the cancellation to the end of the whole tree. */
suspend fun cancelTree(parents: Int, children: Int): Long = coroutineScope {
    val started = AtomicInteger()
    val root = launch {
        repeat(parents) {
            launch {
                repeat(children) {
                    launch {
                        started.incrementAndGet()
                        awaitCancellation()
                    }
                }
                started.incrementAndGet()
            }
        }
    }
    while (started.get() < parents * (children + 1)) delay(1)
    val t = System.nanoTime()
    root.cancelAndJoin()
    System.nanoTime() - t
}

suspend fun scope() {
    val sum = coroutineScope {
        val children = Array(SCOPE_CHILDREN) { i -> async { i } }
        var sum = 0L
        for (c in children) sum += c.await()
        sum
    }
    check(sum == sumBelow(SCOPE_CHILDREN))
}

/** kotlinx.coroutines has no sockets; these are the JDK's asynchronous ones, suspended on. */
fun tcpEcho(b: Bench) {
    val server = AsynchronousServerSocketChannel.open().bind(InetSocketAddress("127.0.0.1", 0), 1_024)
    b.printRow(mapOf("port" to (server.localAddress as InetSocketAddress).port))
    runBlocking(Dispatchers.Default) {
        while (true) {
            val socket = suspending<AsynchronousSocketChannel> { server.accept(null, it) }
            socket.setOption(StandardSocketOptions.TCP_NODELAY, true)
            launch {
                val buf = ByteBuffer.allocateDirect(ECHO_BYTES)
                runCatching {
                    while (suspending<Int> { socket.read(buf, null, it) } >= 0) {
                        buf.flip()
                        while (buf.hasRemaining()) suspending<Int> { socket.write(buf, null, it) }
                        buf.clear()
                    }
                }
                socket.close()
            }
        }
    }
}

suspend inline fun <T> suspending(crossinline start: (CompletionHandler<T, Nothing?>) -> Unit): T =
    suspendCancellableCoroutine { c ->
        start(object : CompletionHandler<T, Nothing?> {
            override fun completed(result: T, attachment: Nothing?) = c.resume(result)
            override fun failed(e: Throwable, attachment: Nothing?) = c.resumeWithException(e)
        })
    }
