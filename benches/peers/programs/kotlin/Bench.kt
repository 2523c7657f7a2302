import java.lang.management.ManagementFactory
import java.nio.file.Files
import java.nio.file.Path
import java.util.Locale

/** One program run: which workload, how often; it prints the one row. */
class Bench(val workload: String) {
    private val scale = number("PEERS_SCALE", 1.0)
    private val reps = number("PEERS_REPS", 5.0).toInt()

    /** More than the native peers' one, so that what is measured is compiled code. */
    private val warm = number("PEERS_WARM", 5.0).toInt()

    private val version: String = run {
        val coroutines = Bench::class.java.getResource("/META-INF/kotlinx_coroutines_core.version")!!.readText()
        "kotlinx.coroutines ${coroutines.trim()}, Kotlin ${KotlinVersion.CURRENT}, JDK ${Runtime.version()}"
    }

    /** Scales a size, in whole multiples of 1 000 where it was one. */
    fun n(n: Int): Int {
        val unit = if (n % 1_000 == 0) 1_000 else 1
        return maxOf((n * scale).toInt() / unit * unit, unit)
    }

    /** Scales what each of several tasks does. */
    fun each(tasks: Int, n: Int): Int = n(tasks * n) / tasks

    /** Scales the leaves of a tree, in powers of ten. */
    fun leaves(all: Int): Int =
        generateSequence(all) { it / 10 }.first { it <= 1_000 || it <= all * scale }

    /**
     * Runs the warm-up and then the measured repetitions; [one] does [ops] operations,
     * returns how many nanoseconds they took and may put named numbers into its map.
     */
    fun time(ops: Int, one: (MutableMap<String, Double>) -> Long) {
        val ns = mutableListOf<Double>()
        val extras = sortedMapOf<String, MutableList<Double>>()
        repeat(warm + reps) { rep ->
            val extra = mutableMapOf<String, Double>()
            val took = one(extra)
            if (rep >= warm) {
                ns += took.toDouble() / ops
                extra.forEach { (name, x) -> extras.getOrPut(name) { mutableListOf() } += x }
            }
        }
        print(ops, ns, extras.mapValues { median(it.value) })
    }

    fun print(ops: Int, ns: List<Double>, extras: Map<String, Double>) {
        val mid = median(ns)
        val row = linkedMapOf<String, Any>(
            "n" to ops, "ns_per_op" to mid, "ns_min" to ns.min(), "ns_max" to ns.max(),
            "reps" to ns.size, "ops_per_s" to 1e9 / mid,
        )
        printRow(row + extras)
    }

    fun skip(why: String) = printRow(mapOf("skipped" to why))

    fun printRow(fields: Map<String, Any>) {
        val all = mapOf<String, Any>("peer" to "kotlin", "version" to version, "workload" to workload) + fields
        val line = all.entries.joinToString(", ", "{", "}") { (name, x) ->
            when (x) {
                is String -> "\"$name\": \"$x\""
                is Double -> "\"$name\": ${"%.2f".format(Locale.ROOT, x)}"
                else -> "\"$name\": $x"
            }
        }
        println(line)
        System.out.flush()
    }

    private fun number(name: String, otherwise: Double) = System.getenv(name)?.toDouble() ?: otherwise

    private fun median(all: List<Double>): Double {
        val sorted = all.sorted()
        val mid = sorted.size / 2
        return if (sorted.size % 2 == 1) sorted[mid] else (sorted[mid - 1] + sorted[mid]) / 2
    }
}

/** User plus system nanoseconds of this process so far, collector and compiler included. */
fun cpuTime(): Long =
    (ManagementFactory.getOperatingSystemMXBean() as com.sun.management.OperatingSystemMXBean).processCpuTime

/** A field of /proc/self/status in bytes, such as VmRSS or VmHWM. */
fun memory(field: String): Double =
    Files.readAllLines(Path.of("/proc/self/status")).first { it.startsWith(field) }
        .split(Regex("\\s+"))[1].toDouble() * 1024

/** Bytes of live objects, after a collection. */
fun liveHeap(): Double {
    System.gc()
    return Runtime.getRuntime().run { totalMemory() - freeMemory() }.toDouble()
}

/** Draws the sleeps of timers_churn; one per task, seeded with its index. */
class Lcg(private var state: Long) {
    fun sleepMicros(): Long {
        state = state * 6364136223846793005L + 1442695040888963407L
        return (state ushr 33) % CHURN_MAX_US
    }
}

fun sumBelow(n: Int): Long = n.toLong() * (n - 1) / 2

fun treeNodes(leaves: Int): Int = generateSequence(1) { it * 10 }.takeWhile { it <= leaves }.sum()
