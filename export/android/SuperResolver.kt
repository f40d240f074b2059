package kerasfsr

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import java.util.concurrent.Executors
import java.util.concurrent.atomic.AtomicBoolean
import kotlinx.coroutines.ExecutorCoroutineDispatcher
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/**
 * Enlarges bitmaps with a keras_fsr model, on a thread of its own.
 *
 * The model takes and gives uint8 pixels of one size; README.md has its contract and the command that makes it.
 *
 *     SuperResolver.create(context).use { resolver -> view.setImageBitmap(resolver.enlarge(photo)) }
 *
 * Written for com.google.ai.edge.litert:litert:2.3.2.
 */
class SuperResolver private constructor(
    private val model: CompiledModel,
    tile: Int,
    private val scale: Int,
    private val worker: ExecutorCoroutineDispatcher,
) : AutoCloseable {
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()
    private val tiler = Tiler(tile, scale, network = ::run)
    private val closed = AtomicBoolean()

    /**
     * Enlarges a bitmap; cancelling the coroutine stops after the present tile.
     *
     * @param bitmap of any configuration; transparency is dropped
     * @param onProgress takes the tiles that are done and all of them, on the thread of the work
     * @return opaque ARGB_8888
     * @throws IllegalArgumentException the result would have more than [MAX_PIXELS] pixels
     * @throws com.google.ai.edge.litert.LiteRtException the model does not run
     */
    suspend fun enlarge(bitmap: Bitmap, onProgress: (done: Int, total: Int) -> Unit = { _, _ -> }): Bitmap =
        withContext(worker) {
            val width = bitmap.width
            val height = bitmap.height
            require(width.toLong() * height * scale * scale <= MAX_PIXELS) {
                "$width x $height pixels are too many to enlarge; make the bitmap smaller"
            }
            val pixels = pixelsOf(bitmap)
            val result = Bitmap.createBitmap(width * scale, height * scale, Bitmap.Config.ARGB_8888)
            try {
                tiler.enlarge(
                    pixels,
                    width,
                    height,
                    write = { row, y -> result.setPixels(row, 0, row.size, 0, y, row.size, 1) },
                    progress = { done, total ->
                        onProgress(done, total)
                        ensureActive()
                    },
                )
                result
            } catch (error: Throwable) {
                result.recycle()
                throw error
            }
        }

    /** Frees the model once a running [enlarge] has ended; later calls are cancelled. */
    override fun close() {
        if (closed.getAndSet(true)) return
        worker.executor.execute {
            (inputs + outputs).forEach { it.close() }
            model.close()
        }
        worker.close()
    }

    /** Bytes are what LiteRT's Kotlin has for 8-bit tensors, signed or not. */
    private fun run(levels: ByteArray): ByteArray {
        inputs[0].writeInt8(levels)
        model.run(inputs, outputs)
        return outputs[0].readInt8()
    }

    private fun pixelsOf(bitmap: Bitmap): IntArray {
        // Bitmaps of the configuration HARDWARE keep their pixels from us.
        val readable = if (bitmap.config == Bitmap.Config.ARGB_8888) bitmap else copy(bitmap)
        val pixels = IntArray(bitmap.width * bitmap.height)
        readable.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        if (readable !== bitmap) readable.recycle()
        return pixels
    }

    private fun copy(bitmap: Bitmap): Bitmap =
        requireNotNull(bitmap.copy(Bitmap.Config.ARGB_8888, false)) { "the bitmap cannot be copied" }

    companion object {
        /** The file in the app's assets. */
        const val ASSET = "face_x4_edge_64x64.tflite"

        /** Side of the model's input in pixels. */
        const val TILE = 64

        /** Side of its output / side of its input. */
        const val SCALE = 4

        /** Of a result; 160 MB. */
        const val MAX_PIXELS = 40_000_000L

        /**
         * Loads a model from the app's assets.
         *
         * @param threads CPU threads; as many as the device has fast cores is best
         * @throws com.google.ai.edge.litert.LiteRtException the asset is missing or is no model
         */
        suspend fun create(
            context: Context,
            asset: String = ASSET,
            tile: Int = TILE,
            scale: Int = SCALE,
            threads: Int = 4,
        ): SuperResolver {
            val worker = Executors.newSingleThreadExecutor { Thread(it, "SuperResolver") }.asCoroutineDispatcher()
            try {
                return withContext(worker) {
                    val options = CompiledModel.Options(Accelerator.CPU)
                    options.cpuOptions = CompiledModel.CpuOptions(numThreads = threads)
                    val model = CompiledModel.create(context.assets, asset, options)
                    try {
                        SuperResolver(model, tile, scale, worker)
                    } catch (error: Throwable) {
                        model.close()
                        throw error
                    }
                }
            } catch (error: Throwable) {
                worker.close()
                throw error
            }
        }
    }
}
