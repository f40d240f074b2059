package kerasfsr

import kotlin.math.max
import kotlin.math.roundToInt

/**
 * One tile along one axis, in pixels of the image as it is continued by mirroring.
 *
 * The tile covers [start, start + tile), of which [begin, end) is its own. Its first [fade] pixels are mixed with the
 * tile before, which therefore reaches [tail] pixels further than it owns: fade of a tile == tail of the one before.
 */
internal class Span(val start: Int, val begin: Int, val end: Int, val fade: Int, val tail: Int) {
    /** How much the tile counts at the [offset]th of the [times] times enlarged pixels from its begin: 0 to 1. */
    fun weight(offset: Int, times: Int): Float {
        val out = offset - (end - begin) * times
        return when {
            offset < fade * times -> (offset + 0.5f) / (fade * times)
            out >= 0 -> 1 - (out + 0.5f) / (tail * times)
            else -> 1f
        }
    }
}

/** The tiles along an axis of [side] pixels, spread evenly, so that every seam lies far from the tiles' edges. */
internal fun spans(side: Int, tile: Int, overlap: Int, pad: Int): List<Span> {
    val padded = max(side + 2 * pad, tile)
    val stride = tile - overlap
    val count = 1 + (padded - tile + stride - 1) / stride
    val starts = List(count) { it * (padded - tile) / max(count - 1, 1) }
    val fade = overlap / 2
    // The fade is centred on the middle of what two neighbours share.
    val seams = starts.zipWithNext { first, second -> (first + tile + second - fade) / 2 }
    return starts.mapIndexed { i, start ->
        Span(
            start = start,
            begin = if (i == 0) pad else seams[i - 1],
            end = if (i == count - 1) pad + side else seams[i],
            fade = if (i == 0) 0 else fade,
            tail = if (i == count - 1) 0 else fade,
        )
    }
}

/**
 * Enlarges an image of any size by a network of a fixed one, in tiles that blend into each other.
 *
 * Of what two tiles share, the outer quarter on either side is thrown away, for the zero padding of the network has
 * touched it; across the middle half the tiles fade. The image is continued by mirroring, so that its own edges are
 * treated alike. The same as `keras_fsr/inference/tiles.py`, for tiles of one size.
 *
 * @param tile side of the network's input in pixels
 * @param scale side of its output / side of its input
 * @param overlap pixels that neighbouring tiles share at least; below half a tile
 * @param pad pixels by which the image is continued
 * @param network RGB levels of a tile, tile * tile * 3 bytes, to those of its enlargement, scale² times as many
 */
internal class Tiler(
    private val tile: Int,
    private val scale: Int,
    private val overlap: Int = 16,
    private val pad: Int = 8,
    private val network: (ByteArray) -> ByteArray,
) {
    init {
        require(tile > 2 * max(overlap, pad)) { "a tile of $tile is too small for an overlap of $overlap" }
    }

    /**
     * @param pixels ARGB of the image, row by row; alpha is ignored
     * @param write takes each enlarged row, as opaque ARGB, and its number, from the top
     * @param progress takes the tiles that are done and all of them
     */
    fun enlarge(
        pixels: IntArray,
        width: Int,
        height: Int,
        write: (row: IntArray, y: Int) -> Unit,
        progress: (done: Int, total: Int) -> Unit,
    ) {
        val rows = spans(height, tile, overlap, pad)
        val columns = spans(width, tile, overlap, pad)
        val line = width * scale * 3
        var above = FloatArray(0) // the tail of the row of tiles before
        var done = 0
        var y = 0
        for (row in rows) {
            val own = (row.end - row.begin) * scale
            val strip = FloatArray((own + row.tail * scale) * line)
            for (column in columns) {
                val levels = network(cut(pixels, width, height, row.start, column.start))
                check(levels.size == tile * tile * 3 * scale * scale) { "the network gave ${levels.size} values" }
                add(levels, row, column, strip, line)
                progress(++done, rows.size * columns.size)
            }
            for (i in above.indices) strip[i] += above[i]
            for (i in 0 until own) write(pack(strip, i * line, width * scale), y++)
            above = strip.copyOfRange(own * line, strip.size)
        }
    }

    private fun cut(pixels: IntArray, width: Int, height: Int, top: Int, left: Int): ByteArray {
        val levels = ByteArray(tile * tile * 3)
        var next = 0
        for (y in 0 until tile) {
            val start = mirrored(top + y - pad, height) * width
            for (x in 0 until tile) {
                val pixel = pixels[start + mirrored(left + x - pad, width)]
                levels[next++] = (pixel shr 16).toByte()
                levels[next++] = (pixel shr 8).toByte()
                levels[next++] = pixel.toByte()
            }
        }
        return levels
    }

    /** Adds a tile's part of a row of tiles, weighted so that the parts of all tiles sum to 1. */
    private fun add(levels: ByteArray, row: Span, column: Span, strip: FloatArray, line: Int) {
        val left = (column.begin - column.start) * scale
        val weights = FloatArray((column.end + column.tail - column.begin) * scale) { column.weight(it, scale) }
        for (y in 0 until (row.end + row.tail - row.begin) * scale) {
            val vertical = row.weight(y, scale)
            var from = (((row.begin - row.start) * scale + y) * tile * scale + left) * 3
            var to = y * line + (column.begin - pad) * scale * 3
            for (horizontal in weights) {
                val weight = vertical * horizontal
                repeat(3) { strip[to++] += weight * (levels[from++].toInt() and 0xFF) }
            }
        }
    }

    private fun pack(strip: FloatArray, start: Int, width: Int): IntArray {
        fun level(i: Int) = strip[i].roundToInt().coerceIn(0, 255)
        return IntArray(width) { x ->
            val i = start + 3 * x
            (0xFF shl 24) or (level(i) shl 16) or (level(i + 1) shl 8) or level(i + 2)
        }
    }
}

/** The pixel that stands at [i] where [side] pixels are continued by mirroring them about their outer edges. */
internal fun mirrored(i: Int, side: Int): Int {
    val place = Math.floorMod(i, 2 * side)
    return if (place < side) place else 2 * side - 1 - place
}
