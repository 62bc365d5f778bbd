/* Batch normalisation of a training step and the activation after it, in the fewest possible passes over the input: two
   forward, two backward. PyTorch's own, with ReLU6, take six and eight.

   Maps are `rows` pixels of `channels` floats (channels_last). The activation clamps to [low, high]; -inf and inf mean
   none. Compiled at run time (native.py), with OpenMP. Apart from the inputs, results depend only on `threads`.

   Reference: arXiv 1502.03167, Algorithm 1, and section 3 for the gradients. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define TILE 256 /* channels whose sums stay on the stack */
#define BLOCK 64 /* rows that are summed in float; sums of blocks are in double */
#define MIN(a, b) ((a) < (b) ? (a) : (b))

/* What the forward pass saves for the backward pass; each `channels` long. */
typedef struct {
    float *mean, *inv_std, *scale, *shift; /* y = clamp(x * scale + shift) */
} Saved;

static Saved saved_in(float *memory, int64_t channels)
{
    return (Saved){memory, memory + channels, memory + 2 * channels, memory + 3 * channels};
}

/* Each thread has its own rows and, in `sums`, its own two sums, each `channels` long. */
static double *sums_of(double *sums, int thread, int64_t channels) { return sums + 2 * channels * thread; }

static void add_up(double *sums, int threads, int64_t channels)
{
    for (int thread = 1; thread < threads; thread++)
        for (int64_t c = 0; c < 2 * channels; c++)
            sums[c] += sums_of(sums, thread, channels)[c];
}

/* Sum x - x[first row] and its square. Without the shift, a large mean would cancel out the variance. */
static void sum_inputs(const float *x, int64_t rows, int64_t channels, double *sums, int threads)
{
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++) {
        int64_t begin = rows * thread / threads, end = rows * (thread + 1) / threads;
        double *sum = sums_of(sums, thread, channels), *square = sum + channels;
        memset(sum, 0, 2 * channels * sizeof *sum);
        for (int64_t first = 0; first < channels; first += TILE) {
            int width = MIN(TILE, channels - first);
            float shift[TILE], s[TILE], q[TILE];
            memcpy(shift, x + first, width * sizeof *shift);
            for (int64_t block = begin; block < end; block += BLOCK) {
                memset(s, 0, sizeof s);
                memset(q, 0, sizeof q);
                int64_t row = block, stop = MIN(block + BLOCK, end);
                for (; row + 4 <= stop; row += 4) { /* four at once: fewer loads and stores of the sums */
                    const float *v = x + row * channels + first;
                    for (int c = 0; c < width; c++) {
                        float d0 = v[c] - shift[c], d1 = v[c + channels] - shift[c];
                        float d2 = v[c + 2 * channels] - shift[c], d3 = v[c + 3 * channels] - shift[c];
                        s[c] += (d0 + d1) + (d2 + d3);
                        q[c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3);
                    }
                }
                for (; row < stop; row++)
                    for (int c = 0; c < width; c++) {
                        float d = x[row * channels + first + c] - shift[c];
                        s[c] += d;
                        q[c] += d * d;
                    }
                for (int c = 0; c < width; c++) {
                    sum[first + c] += s[c];
                    square[first + c] += q[c];
                }
            }
        }
    }
    add_up(sums, threads, channels);
}

/* sums: scratch of threads * 2 * channels; saved: 4 * channels, for the backward pass. */
void batchnorm_forward(const float *restrict x, float *restrict y, int64_t rows, int64_t channels,
                       const float *weight, const float *bias, float *running_mean, float *running_var,
                       float momentum, float eps, float low, float high, float *saved, double *sums, int threads)
{
    sum_inputs(x, rows, channels, sums, threads);
    Saved s = saved_in(saved, channels);
    for (int64_t c = 0; c < channels; c++) {
        double offset = sums[c] / rows;
        double mean = x[c] + offset, var = fmax(sums[channels + c] / rows - offset * offset, 0);
        double inv_std = 1 / sqrt(var + eps);
        s.mean[c] = mean;
        s.inv_std[c] = inv_std;
        s.scale[c] = weight[c] * inv_std;
        s.shift[c] = bias[c] - mean * weight[c] * inv_std;
        running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean;
        running_var[c] = (1 - momentum) * running_var[c] + momentum * var * rows / (rows - 1);
    }
    const float *restrict scale = s.scale, *restrict shift = s.shift;
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < channels; c++) {
            float z = x[row * channels + c] * scale[c] + shift[c];
            y[row * channels + c] = z < low ? low : z > high ? high : z; /* NaN stays NaN */
        }
}

/* Return the gradient of the clamp's input, given that of its output. */
static inline float unclamped(float grad, float x, float scale, float shift, float low, float high)
{
    float z = x * scale + shift;
    return (z > low) & (z < high) ? grad : 0;
}

/* grad_x may be NULL if it is not needed. grads: the gradients of weight and bias, then scratch of 2 * channels. */
void batchnorm_backward(const float *restrict x, const float *restrict grad, float *restrict grad_x, int64_t rows,
                        int64_t channels, float *saved, float low, float high, float *restrict grads, double *sums,
                        int threads)
{
    Saved kept = saved_in(saved, channels);
    const float *mean = kept.mean, *inv_std = kept.inv_std, *restrict scale = kept.scale, *restrict shift = kept.shift;

    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++) { /* sum the gradients, and their products with x - mean */
        int64_t begin = rows * thread / threads, end = rows * (thread + 1) / threads;
        double *sum = sums_of(sums, thread, channels), *product = sum + channels;
        memset(sum, 0, 2 * channels * sizeof *sum);
        for (int64_t first = 0; first < channels; first += TILE) {
            int width = MIN(TILE, channels - first);
            float a[TILE], b[TILE], m[TILE], s[TILE], q[TILE];
            memcpy(a, scale + first, width * sizeof *a);
            memcpy(b, shift + first, width * sizeof *b);
            memcpy(m, mean + first, width * sizeof *m);
            for (int64_t block = begin; block < end; block += BLOCK) {
                memset(s, 0, sizeof s);
                memset(q, 0, sizeof q);
                for (int64_t row = block; row < MIN(block + BLOCK, end); row++) {
                    const float *v = x + row * channels + first, *g = grad + row * channels + first;
                    for (int c = 0; c < width; c++) {
                        float d = unclamped(g[c], v[c], a[c], b[c], low, high);
                        s[c] += d;
                        q[c] += d * (v[c] - m[c]);
                    }
                }
                for (int c = 0; c < width; c++) {
                    sum[first + c] += s[c];
                    product[first + c] += q[c];
                }
            }
        }
    }
    add_up(sums, threads, channels);
    float *grad_weight = grads, *grad_bias = grads + channels;
    for (int64_t c = 0; c < channels; c++) {
        grad_weight[c] = sums[channels + c] * inv_std[c];
        grad_bias[c] = sums[c];
    }
    if (!grad_x)
        return;

    float *restrict slope = grads + 2 * channels, *restrict offset = slope + channels; /* grad_x is linear in x */
    for (int64_t c = 0; c < channels; c++) {
        slope[c] = -(double)scale[c] * inv_std[c] * inv_std[c] * sums[channels + c] / rows;
        offset[c] = -(double)scale[c] * sums[c] / rows - (double)slope[c] * mean[c];
    }
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < channels; c++) {
            int64_t i = row * channels + c;
            grad_x[i] = unclamped(grad[i], x[i], scale[c], shift[c], low, high) * scale[c] + (x[i] * slope[c] + offset[c]);
        }
}
