// The kernels of a llama's forward pass, for NVIDIA GPUs of compute capability 8.0 and later.
//
// A row is one token of one sequence; a batch mixes rows of several sequences. Every number of a row is computed by one
// fixed order of operations, whatever else is in the batch and whichever kernel does it: that is what lets sequences
// share a batch and still get the tokens they would get alone. So there are no atomics, additions are never contracted
// (-fmad=false; where a fused one is meant it is written), and a sum over a matrix's columns is cut into SEGMENTS parts
// that are summed each from left to right and then added from left to right.
//
// Nothing is included, so that the compiler's library alone can build it; see `examples/compile_kernels.rs`.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Numbers that share a scale.
#define BLOCK 32
// Weight rows that lie side by side in memory.
#define GROUP 32
// Parts of a sum over columns.
#define SEGMENTS 16
// Positions of one part of a row's attention: those that are in shared memory at once.
#define SPLIT 64
// Queries of a warp and warps of a block, in attention.
#define QUERIES 4
#define ATTENTION_WARPS 4
// Shared memory of a block of the narrow product; see `NARROW_SHARED_BYTES` in src/kernel.rs.
#define NARROW_SHARED_BYTES 98304
// Tokens of a block of the wide product, and column blocks that it loads at once.
#define WIDE_TOKENS 64
#define STAGE 4

// How quantised weights are stored.
#define Q4_MINIMUM 0
#define Q8 1
#define Q8_MINIMUM 2
// How weights that are no quants are stored.
#define F16 0
#define BF16 1
#define F32 2

#define NEGATIVE_INFINITY __int_as_float(0xff800000)
// 1.5 * 2^23 as bits and as a number: an integer below 2^22 in size, added to the bits, makes the float of their sum.
#define ROUNDER_BITS 0x4b400000
#define ROUNDER 12582912.0f
#define FULL_WARP 0xffffffffu

// Where a row's sequence has its keys and values, and which token it is.
struct Row {
    u16* keys;
    u16* values;
    u32 capacity;
    u32 position;
    u32 token;
    u32 unused;
};

// Rows that follow each other in one sequence.
struct Tile {
    u32 first;
    u32 rows;
};

__device__ float half_to_float(u16 half) {
    float number;
    asm("cvt.f32.f16 %0, %1;" : "=f"(number) : "h"(half));
    return number;
}

__device__ float2 halves_to_floats(u32 halves) {
    return make_float2(half_to_float((u16)halves), half_to_float((u16)(halves >> 16)));
}

// The nearest 16-bit float; what is too large becomes the largest.
__device__ u16 float_to_half(float number) {
    u16 half;
    float kept = number > 65504.0f ? 65504.0f : number < -65504.0f ? -65504.0f : number;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(kept));
    return half;
}

__device__ float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

__device__ float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    }
    return value;
}

__device__ u32 segment_begin(u32 segment, u32 length) { return segment * length / SEGMENTS; }

// ---- Activations -------------------------------------------------------------------------------------------------

// Rows of activations as the products read them. A row is `width` numbers long, a multiple of BLOCK, zeros at its end.
struct Activations {
    float* values;
    // For each block, 32 quants of eight bits, and 32 of what they leave over, in 256ths of a quant; the scale of the
    // quants, and that times their sum. Null where not wanted. Eight bits alone are not enough for models that have a few
    // large activations among many small ones.
    u8* quants;
    float2* scales;
    u32 width;
};

// Writes one block of a row; each lane brings one number.
__device__ void put_block(const Activations& to, u32 row, u32 block, float value) {
    const u32 lane = threadIdx.x % 32;
    const u64 at = (u64)row * to.width + block * BLOCK + lane;
    to.values[at] = value;
    if (to.quants == 0) return;
    const float scale = warp_max(fabsf(value)) / 127.0f;
    const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
    const float exact = value * inverse, rounded = (exact + ROUNDER) - ROUNDER;
    const float rest = fminf(((exact - rounded) * 256.0f + ROUNDER) - ROUNDER, 127.0f);
    u8* quants = to.quants + (at - lane) * 2 + lane;
    quants[0] = (u8)(int)rounded;
    quants[BLOCK] = (u8)(int)rest;
    const float sum = warp_sum(rounded + rest / 256.0f);
    if (lane == 0) to.scales[(u64)row * (to.width / BLOCK) + block] = make_float2(scale, scale * sum);
}

// RMS norm: Zhang and Sennrich (2019). Row i of the result is the norm of row `index[i]`, or i where there is none.
extern "C" __global__ void __launch_bounds__(1024) norm(const float* input, const u32* index, const float* weights,
                                                        float* values, u8* quants, float2* scales, u32 columns,
                                                        u32 width, float epsilon) {
    __shared__ float sums[32];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float* x = input + (u64)(index ? index[blockIdx.x] : blockIdx.x) * columns;
    float sum = 0.0f;
    for (u32 column = threadIdx.x; column < columns; column += 1024) sum = __fmaf_rn(x[column], x[column], sum);
    sum = warp_sum(sum);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    const float total = warp_sum(sums[lane]);
    const float factor = 1.0f / sqrtf(total / (float)columns + epsilon);
    const Activations to = {values, quants, scales, width};
    for (u32 block = warp; block < width / BLOCK; block += 32) {
        const u32 column = block * BLOCK + lane;
        put_block(to, blockIdx.x, block, column < columns ? x[column] * factor * weights[column] : 0.0f);
    }
}

// silu(gate) * up, of rows that hold all gates and then all ups.
extern "C" __global__ void __launch_bounds__(256) gate(const float* input, float* values, u8* quants, float2* scales,
                                                       u32 columns, u32 width) {
    const u32 block = blockIdx.x * 8 + threadIdx.x / 32, column = block * BLOCK + threadIdx.x % 32;
    if (block >= width / BLOCK) return;
    const float* x = input + (u64)blockIdx.y * 2 * columns;
    const Activations to = {values, quants, scales, width};
    float value = 0.0f;
    if (column < columns) value = x[column] / (1.0f + expf(-x[column])) * x[columns + column];
    put_block(to, blockIdx.y, block, value);
}

// ---- Quantised weights -------------------------------------------------------------------------------------------
//
// For each group of 32 rows, for each block of 32 columns: the quants, 16 bytes of a row together, the 32 rows in turn
// (eight bits: first all rows' first halves, then their second halves); apart from these, in the same order, a row's
// scale, with its minimum where there is one, as 16-bit floats. In four bits the low halves of the 16 bytes are the
// first 16 columns. So a lane of the tensor cores' A operand finds its four bytes in one word.

__device__ constexpr u32 planes(int format) { return format == Q4_MINIMUM ? 1 : 2; }

template <int FORMAT>
__device__ float2 load_scale(const u8* scales, u64 block, u32 row) {
    if (FORMAT == Q8) return make_float2(half_to_float(((const u16*)scales)[block * GROUP + row]), 0.0f);
    return halves_to_floats(((const u32*)scales)[block * GROUP + row]);
}

// What a lane holds of 16 weight rows of one block: quants of rows `row` and `row + 8`, and their scales.
struct Fragment {
    u32 quants[4];
    float2 scales[2];
};

template <int FORMAT>
__device__ Fragment load_fragment(const u8* quants, const u8* scales, u64 block, u32 row, u32 word) {
    Fragment found;
    const u32* words = (const u32*)quants + block * planes(FORMAT) * GROUP * 4;
    const u32 upper = words[row * 4 + word], lower = words[(row + 8) * 4 + word];
    if (FORMAT == Q4_MINIMUM) {
        found.quants[0] = upper & 0x0f0f0f0f;
        found.quants[1] = lower & 0x0f0f0f0f;
        found.quants[2] = upper >> 4 & 0x0f0f0f0f;
        found.quants[3] = lower >> 4 & 0x0f0f0f0f;
    } else {
        found.quants[0] = upper;
        found.quants[1] = lower;
        found.quants[2] = words[GROUP * 4 + row * 4 + word];
        found.quants[3] = words[GROUP * 4 + (row + 8) * 4 + word];
    }
    found.scales[0] = load_scale<FORMAT>(scales, block, row);
    found.scales[1] = load_scale<FORMAT>(scales, block, row + 8);
    return found;
}

// The exact products of 16 weight rows with 8 tokens, as floats with ROUNDER added.
__device__ void multiply_block(int dots[4], const Fragment& weights, u32 first, u32 second) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
        : "=r"(dots[0]), "=r"(dots[1]), "=r"(dots[2]), "=r"(dots[3])
        : "r"(weights.quants[0]), "r"(weights.quants[1]), "r"(weights.quants[2]), "r"(weights.quants[3]), "r"(first),
          "r"(second), "r"(ROUNDER_BITS));
}

// Adds one block's part to the sums of 16 weight rows times 8 tokens, of which a lane has four words: two of quants, and
// two of what those leave over. The integer products are exact, so every kernel that adds the blocks in the same order
// gives the same bits. One fused step takes ROUNDER off and scales: ROUNDER times a 16-bit float is exact.
template <int FORMAT>
__device__ void add_block(float sums[4], const Fragment& weights, const u32* words, float2 left, float2 right) {
    const u32 word = threadIdx.x % 4;
    int dots[4], rests[4];
    multiply_block(dots, weights, words[word], words[word + 4]);
    multiply_block(rests, weights, words[word + 8], words[word + 12]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 scale = weights.scales[i / 2], activation = i % 2 ? right : left;
        const float small = scale.x / 256.0f;
        const float rest = __fmaf_rn(__int_as_float(rests[i]), small, -ROUNDER * small);
        const float scaled = __fmaf_rn(__int_as_float(dots[i]), scale.x, -ROUNDER * scale.x) + rest;
        sums[i] = __fmaf_rn(scaled, activation.x, sums[i]);
        if (FORMAT != Q8) sums[i] = __fmaf_rn(scale.y, activation.y, sums[i]);
    }
}

__device__ void store(float* output, u64 at, float value, u32 adds) {
    output[at] = adds ? output[at] + value : value;
}

__device__ void copy_async_16(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
}

__device__ void copy_async_8(void* to, const void* from) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
}

// Copies, or writes zeros where there is nothing to copy.
__device__ void copy_async_16_or_zero(void* to, const void* from, bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from),
                 "r"(is_there ? 16 : 0));
}

__device__ void copy_async_8_or_zero(void* to, const void* from, bool is_there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from),
                 "r"(is_there ? 8 : 0));
}

// One block's weights of a group, their scales, and the same columns of 8 * TILES tokens, as a warp keeps them.
template <int FORMAT, int TILES>
struct NarrowStage {
    u8 quants[planes(FORMAT) * GROUP * 16];
    u8 scales[GROUP * (FORMAT == Q8 ? 2 : 4)];
    // A token's quants, padded so that a warp's loads meet no bank twice.
    u32 words[TILES * 8][20];
    float2 x_scales[TILES * 8];
};

template <int FORMAT, int TILES>
__device__ void load_narrow(NarrowStage<FORMAT, TILES>& stage, const u8* quants, const u8* scales, const u32* x,
                            const float2* x_scales, u32 block, u32 blocks, u32 tokens) {
    const u32 lane = threadIdx.x % 32;
    const u64 at = (u64)blockIdx.x * blocks + block;
#pragma unroll
    for (int plane = 0; plane < planes(FORMAT); plane++) {
        const u32 place = (plane * GROUP + lane) * 16;
        copy_async_16(stage.quants + place, quants + at * sizeof(stage.quants) + place);
    }
    if (lane < sizeof(stage.scales) / 16) {
        copy_async_16(stage.scales + lane * 16, scales + at * sizeof(stage.scales) + lane * 16);
    }
#pragma unroll
    for (u32 piece = lane; piece < TILES * 32; piece += 32) {
        const u32 token = piece / 4, part = piece % 4 * 4;
        copy_async_16_or_zero(&stage.words[token][part], x + ((u64)token * blocks + block) * 16 + part, token < tokens);
    }
    if (lane < TILES * 8) copy_async_8_or_zero(&stage.x_scales[lane], x_scales + (u64)lane * blocks + block, lane < tokens);
}

// Few tokens, 8 * TILES of them: the time is that of reading the weights, so that each warp has several blocks of them
// on their way while it works on one. Each block of threads has one group of weight rows, each of its 16 warps one
// segment.
template <int FORMAT, int TILES>
__device__ void multiply_narrow(const u8* quants, const u8* scales, const u32* x, const float2* x_scales,
                                float* output, u32 blocks, u32 rows, u32 tokens, u32 stride, u32 adds) {
    typedef NarrowStage<FORMAT, TILES> Stage;
    constexpr int DEPTH = NARROW_SHARED_BYTES / SEGMENTS / sizeof(Stage);
    // A token's 32 sums, padded so that a warp's stores meet no bank twice.
    constexpr u32 padded = 36, part = TILES * 8 * padded;
    static_assert(DEPTH >= 2 && SEGMENTS * part * sizeof(float) <= NARROW_SHARED_BYTES, "all fits");
    extern __shared__ __align__(16) u8 shared[];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, word = lane % 4;
    Stage* stages = (Stage*)shared + warp * DEPTH;
    const u32 begin = segment_begin(warp, blocks), end = segment_begin(warp + 1, blocks);
    const u32 first = blockIdx.y * TILES * 8;
    x += (u64)first * blocks * 16;
    x_scales += (u64)first * blocks;
    output += (u64)first * stride;
    tokens -= first;
#pragma unroll
    for (u32 i = 0; i < DEPTH; i++) {
        if (begin + i < end) {
            load_narrow<FORMAT, TILES>(stages[i], quants, scales, x, x_scales, begin + i, blocks, tokens);
        }
        asm volatile("cp.async.commit_group;");
    }
    float sums[2][TILES][4] = {};
    u32 slot = 0;
    for (u32 block = begin; block < end; block++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(DEPTH - 1) : "memory");
        __syncwarp();
        const Stage& stage = stages[slot];
        const Fragment upper = load_fragment<FORMAT>(stage.quants, stage.scales, 0, quad, word);
        const Fragment lower = load_fragment<FORMAT>(stage.quants, stage.scales, 0, 16 + quad, word);
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
            const u32* words = stage.words[tile * 8 + quad];
            const float2 left = stage.x_scales[tile * 8 + word * 2], right = stage.x_scales[tile * 8 + word * 2 + 1];
            add_block<FORMAT>(sums[0][tile], upper, words, left, right);
            add_block<FORMAT>(sums[1][tile], lower, words, left, right);
        }
        __syncwarp();
        if (block + DEPTH < end) {
            load_narrow<FORMAT, TILES>(stages[slot], quants, scales, x, x_scales, block + DEPTH, blocks, tokens);
        }
        asm volatile("cp.async.commit_group;");
        slot = slot + 1 == DEPTH ? 0 : slot + 1;
    }
    float* parts = (float*)shared;
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; half++) {
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const u32 token = tile * 8 + word * 2 + i % 2, row = half * 16 + quad + i / 2 * 8;
                parts[warp * part + token * padded + row] = sums[half][tile][i];
            }
        }
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < TILES * 8 * GROUP; at += SEGMENTS * 32) {
        const u32 token = at / GROUP, row = blockIdx.x * GROUP + at % GROUP;
        if (token >= tokens || row >= rows) continue;
        float total = 0.0f;
        for (u32 segment = 0; segment < SEGMENTS; segment++) {
            total += parts[segment * part + token * padded + at % GROUP];
        }
        store(output, (u64)token * stride + row, total, adds);
    }
}

struct WideStage {
    u32 words[STAGE][WIDE_TOKENS][20];
    float2 scales[STAGE][WIDE_TOKENS];
};

__device__ void load_stage(WideStage& stage, const u32* x, const float2* x_scales, u32 first_block, u32 blocks) {
    for (u32 at = threadIdx.x; at < WIDE_TOKENS * STAGE * 4; at += 128) {
        const u32 token = at / (STAGE * 4), part = at % (STAGE * 4), block = first_block + part / 4;
        if (block >= blocks) continue;
        const u32 place = part % 4 * 4;
        copy_async_16(&stage.words[part / 4][token][place], x + ((u64)token * blocks + block) * 16 + place);
    }
    for (u32 at = threadIdx.x; at < WIDE_TOKENS * STAGE; at += 128) {
        const u32 token = at / STAGE, part = at % STAGE, block = first_block + part;
        if (block < blocks) copy_async_8(&stage.scales[part][token], x_scales + (u64)token * blocks + block);
    }
    asm volatile("cp.async.commit_group;");
}

// Many tokens: each block has 64 of them and 64 weight rows, each of its four warps 16 rows and all segments in turn.
template <int FORMAT>
__device__ void multiply_wide(const u8* quants, const u8* scales, const u32* x, const float2* x_scales, float* output,
                              u32 blocks, u32 rows, u32 tokens, u32 stride, u32 adds) {
    __shared__ __align__(16) WideStage stages[2];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, word = lane % 4;
    const u32 sixteen = blockIdx.x * 4 + warp, groups = (rows + GROUP - 1) / GROUP;
    // A warp beyond the last row computes that row's group again and stores nothing.
    const u32 group = min(sixteen / 2, groups - 1), row = sixteen % 2 * 16 + quad, first = blockIdx.y * WIDE_TOKENS;
    x += (u64)first * blocks * 16;
    x_scales += (u64)first * blocks;
    float totals[8][4] = {}, sums[8][4] = {};
    u32 segment = 0;
    load_stage(stages[0], x, x_scales, 0, blocks);
    Fragment next = load_fragment<FORMAT>(quants, scales, (u64)group * blocks, row, word);
    for (u32 begin = 0; begin < blocks; begin += STAGE) {
        const WideStage& stage = stages[begin / STAGE % 2];
        asm volatile("cp.async.wait_all;");
        __syncthreads();
        if (begin + STAGE < blocks) load_stage(stages[(begin / STAGE + 1) % 2], x, x_scales, begin + STAGE, blocks);
#pragma unroll 1
        for (u32 part = 0; part < STAGE && begin + part < blocks; part++) {
            const u32 block = begin + part;
            const Fragment weights = next;
            if (block + 1 < blocks) next = load_fragment<FORMAT>(quants, scales, (u64)group * blocks + block + 1, row, word);
#pragma unroll
            for (int tile = 0; tile < 8; tile++) {
                const u32* words = stage.words[part][tile * 8 + quad];
                const float4 pair = *(const float4*)&stage.scales[part][tile * 8 + word * 2];
                add_block<FORMAT>(sums[tile], weights, words, make_float2(pair.x, pair.y), make_float2(pair.z, pair.w));
            }
            while (segment < SEGMENTS && segment_begin(segment + 1, blocks) <= block + 1) {
#pragma unroll
                for (int i = 0; i < 32; i++) {
                    totals[i / 4][i % 4] += sums[i / 4][i % 4];
                    sums[i / 4][i % 4] = 0.0f;
                }
                segment++;
            }
        }
    }
    if (sixteen / 2 >= groups) return;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        const u32 token = first + i / 4 * 8 + word * 2 + i % 2, at = group * GROUP + row + i % 4 / 2 * 8;
        if (token < tokens && at < rows) store(output, (u64)token * stride + at, totals[i / 4][i % 4], adds);
    }
}

#define QUANTISED_ARGUMENTS                                                                                        \
    const u8 *quants, const u8 *scales, const u32 *x, const float2 *x_scales, float *output, u32 blocks, u32 rows, \
        u32 tokens, u32 stride, u32 adds
#define NARROW(name, format, tiles)                                                                                  \
    extern "C" __global__ void __launch_bounds__(512) narrow_##name##_##tiles(QUANTISED_ARGUMENTS) {                 \
        multiply_narrow<format, tiles>(quants, scales, x, x_scales, output, blocks, rows, tokens, stride, adds);     \
    }
#define WIDE(name, format)                                                                                \
    extern "C" __global__ void __launch_bounds__(128) wide_##name(QUANTISED_ARGUMENTS) {                  \
        multiply_wide<format>(quants, scales, x, x_scales, output, blocks, rows, tokens, stride, adds);   \
    }
#define EMBED_QUANTISED(name, format)                                                                             \
    extern "C" __global__ void __launch_bounds__(256) embed_##name(const u8* quants, const u8* scales,            \
                                                                   const Row* rows, float* output, u32 columns) { \
        embed_quantised<format>(quants, scales, rows, output, columns);                                           \
    }

// A token's row of the table, as numbers.
template <int FORMAT>
__device__ void embed_quantised(const u8* quants, const u8* scales, const Row* rows, float* output, u32 columns) {
    const u32 token = rows[blockIdx.x].token, row = token % GROUP;
    for (u32 column = threadIdx.x; column < columns; column += 256) {
        const u64 block = (u64)(token / GROUP) * (columns / BLOCK) + column / BLOCK;
        const u32 place = column % BLOCK, half = place / 16;
        const u8* plane = quants + (block * planes(FORMAT) + (FORMAT == Q4_MINIMUM ? 0 : half)) * GROUP * 16;
        const u8 byte = plane[row * 16 + place % 16];
        const int quant = FORMAT == Q4_MINIMUM ? (half ? byte >> 4 : byte & 15) : (int)(signed char)byte;
        const float2 scale = load_scale<FORMAT>(scales, block, row);
        output[(u64)blockIdx.x * columns + column] = scale.x * (float)quant + scale.y;
    }
}

#define QUANTISED(name, format)                                                               \
    NARROW(name, format, 1) NARROW(name, format, 2) WIDE(name, format) \
    EMBED_QUANTISED(name, format)

QUANTISED(q4_minimum, Q4_MINIMUM)
QUANTISED(q8, Q8)
QUANTISED(q8_minimum, Q8_MINIMUM)

// ---- Weights that are no quants ----------------------------------------------------------------------------------
//
// For each group of 32 rows, for each 16 bytes of columns: the 32 rows in turn. Columns are filled up with zeros.

template <int FORMAT>
__device__ constexpr u32 per_chunk() { return FORMAT == F32 ? 4 : 8; }

template <int FORMAT>
__device__ void unpack(float numbers[8], uint4 chunk) {
    const u32 words[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (FORMAT == F32) {
            numbers[i] = __int_as_float(words[i]);
        } else if (FORMAT == F16) {
            const float2 pair = halves_to_floats(words[i]);
            numbers[2 * i] = pair.x;
            numbers[2 * i + 1] = pair.y;
        } else {
            numbers[2 * i] = __int_as_float(words[i] << 16);
            numbers[2 * i + 1] = __int_as_float(words[i] & 0xffff0000);
        }
    }
}

// Each block has one group of weight rows, a lane a row, and eight tokens; each of its 16 warps one segment.
template <int FORMAT>
__device__ void multiply_floats(const uint4* weights, const float* x, float* output, u32 chunks, u32 width, u32 rows,
                                u32 tokens, u32 stride, u32 adds) {
    __shared__ float parts[SEGMENTS][8][GROUP];
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * 8;
    float sums[8] = {};
    const u32 end = segment_begin(warp + 1, chunks);
    for (u32 chunk = segment_begin(warp, chunks); chunk < end; chunk++) {
        float numbers[8];
        unpack<FORMAT>(numbers, weights[((u64)blockIdx.x * chunks + chunk) * GROUP + lane]);
#pragma unroll
        for (int token = 0; token < 8; token++) {
            const float4* four = (const float4*)(x + (u64)(first + token) * width + chunk * per_chunk<FORMAT>());
#pragma unroll
            for (int i = 0; i < per_chunk<FORMAT>() / 4; i++) {
                const float4 other = four[i];
                sums[token] = __fmaf_rn(numbers[4 * i], other.x, sums[token]);
                sums[token] = __fmaf_rn(numbers[4 * i + 1], other.y, sums[token]);
                sums[token] = __fmaf_rn(numbers[4 * i + 2], other.z, sums[token]);
                sums[token] = __fmaf_rn(numbers[4 * i + 3], other.w, sums[token]);
            }
        }
    }
#pragma unroll
    for (int token = 0; token < 8; token++) parts[warp][token][lane] = sums[token];
    __syncthreads();
    const u32 token = threadIdx.x / GROUP, row = blockIdx.x * GROUP + lane;
    if (token >= 8 || first + token >= tokens || row >= rows) return;
    float total = 0.0f;
    for (u32 segment = 0; segment < SEGMENTS; segment++) total += parts[segment][token][lane];
    store(output, (u64)(first + token) * stride + row, total, adds);
}

template <int FORMAT>
__device__ void embed_floats(const uint4* weights, const Row* rows, float* output, u32 columns) {
    const u32 token = rows[blockIdx.x].token, chunks = (columns + per_chunk<FORMAT>() - 1) / per_chunk<FORMAT>();
    for (u32 chunk = threadIdx.x; chunk < chunks; chunk += 256) {
        float numbers[8];
        unpack<FORMAT>(numbers, weights[((u64)(token / GROUP) * chunks + chunk) * GROUP + token % GROUP]);
#pragma unroll
        for (int i = 0; i < per_chunk<FORMAT>(); i++) {
            const u32 column = chunk * per_chunk<FORMAT>() + i;
            if (column < columns) output[(u64)blockIdx.x * columns + column] = numbers[i];
        }
    }
}

#define FLOATS(name, format)                                                                                          \
    extern "C" __global__ void __launch_bounds__(512)                                                                 \
        multiply_##name(const uint4* weights, const float* x, float* output, u32 chunks, u32 width, u32 rows,         \
                        u32 tokens, u32 stride, u32 adds) {                                                           \
        multiply_floats<format>(weights, x, output, chunks, width, rows, tokens, stride, adds);                       \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) embed_##name(const uint4* weights, const Row* rows,             \
                                                                   float* output, u32 columns) {                      \
        embed_floats<format>(weights, rows, output, columns);                                                         \
    }

FLOATS(f16, F16)
FLOATS(bf16, BF16)
FLOATS(f32, F32)

// ---- Attention ---------------------------------------------------------------------------------------------------
//
// Keys and values lie in their sequence's cache by layer, key-value head and position, as 16-bit floats; a head is
// `padded` numbers long there, a multiple of eight.

// Turns queries in place, and turned keys and values go to the cache. Rotary positions: Su and others (2021).
extern "C" __global__ void __launch_bounds__(256) place(float* input, const Row* rows, const float* frequencies,
                                                        u32 pairs, u32 layer, u32 heads, u32 kv_heads, u32 head_size,
                                                        u32 padded) {
    const Row row = rows[blockIdx.x];
    const u32 half = padded / 2, all = heads + 2 * kv_heads;
    float* numbers = input + (u64)blockIdx.x * all * head_size;
    for (u32 at = blockIdx.y * 256 + threadIdx.x; at < all * half; at += gridDim.y * 256) {
        const u32 head = at / half, pair = at % half, left = 2 * pair, right = left + 1;
        float* own = numbers + (u64)head * head_size;
        float x = left < head_size ? own[left] : 0.0f, y = right < head_size ? own[right] : 0.0f;
        if (head < heads + kv_heads && pair < pairs) {
            float sine, cosine;
            sincosf((float)row.position * frequencies[pair], &sine, &cosine);
            const float turned = x * cosine - y * sine;
            y = x * sine + y * cosine;
            x = turned;
        }
        if (head < heads) {
            if (left < head_size) own[left] = x;
            if (right < head_size) own[right] = y;
            continue;
        }
        const bool is_key = head < heads + kv_heads;
        const u32 kv_head = is_key ? head - heads : head - heads - kv_heads;
        const u64 to = (((u64)layer * kv_heads + kv_head) * row.capacity + row.position) * padded + left;
        *(u32*)((is_key ? row.keys : row.values) + to) = (u32)float_to_half(y) << 16 | float_to_half(x);
    }
}

// Attention of one query to some positions: the largest score, the sum of exponentials less that, and the values
// weighed by these; a lane has two columns of each word.
template <int WORDS>
struct Part {
    float largest, total;
    float2 sums[WORDS];
};

// Puts two parts together, the earlier one first: Milakov and Gimelshein (2018). An empty one changes no bit.
template <int WORDS>
__device__ void merge(Part<WORDS>& to, const Part<WORDS>& from) {
    const float most = fmaxf(to.largest, from.largest);
    const float kept = to.largest == most ? 1.0f : expf(to.largest - most);
    const float factor = from.largest == most ? 1.0f : expf(from.largest - most);
    to.largest = most;
    to.total = __fmaf_rn(from.total, factor, to.total * kept);
#pragma unroll
    for (int word = 0; word < WORDS; word++) {
        to.sums[word].x = __fmaf_rn(from.sums[word].x, factor, to.sums[word].x * kept);
        to.sums[word].y = __fmaf_rn(from.sums[word].y, factor, to.sums[word].y * kept);
    }
}

// Attention of a warp's `live` queries to 32 positions, of which query i sees the first `seen[i]`; a lane has one.
template <int WORDS>
__device__ void attend_32(Part<WORDS> found[QUERIES], const u16* keys, const u16* values, const float* queries,
                          float* weights, const int seen[QUERIES], int live, u32 padded, float scale) {
    const u32 lane = threadIdx.x % 32;
    const u16* key = keys + lane * (padded + 8);
    float scores[QUERIES] = {};
    for (u32 chunk = 0; chunk < padded / 8; chunk++) {
        float numbers[8];
        unpack<F16>(numbers, *(const uint4*)(key + chunk * 8));
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            if (query >= live) continue;
            const float4* own = (const float4*)(queries + query * padded + chunk * 8);
            const float4 left = own[0], right = own[1];
            scores[query] = __fmaf_rn(numbers[0], left.x, scores[query]);
            scores[query] = __fmaf_rn(numbers[1], left.y, scores[query]);
            scores[query] = __fmaf_rn(numbers[2], left.z, scores[query]);
            scores[query] = __fmaf_rn(numbers[3], left.w, scores[query]);
            scores[query] = __fmaf_rn(numbers[4], right.x, scores[query]);
            scores[query] = __fmaf_rn(numbers[5], right.y, scores[query]);
            scores[query] = __fmaf_rn(numbers[6], right.z, scores[query]);
            scores[query] = __fmaf_rn(numbers[7], right.w, scores[query]);
        }
    }
#pragma unroll
    for (int query = 0; query < QUERIES; query++) {
        if (query >= live) continue;
        const bool sees = (int)lane < seen[query];
        const float score = sees ? scores[query] * scale : NEGATIVE_INFINITY;
        found[query].largest = warp_max(score);
        const float weight = sees ? expf(score - found[query].largest) : 0.0f;
        found[query].total = warp_sum(weight);
        weights[query * 32 + lane] = weight;
#pragma unroll
        for (int word = 0; word < WORDS; word++) found[query].sums[word] = make_float2(0.0f, 0.0f);
    }
    __syncwarp();
    for (u32 place = 0; place < 32; place += 4) {
        float4 four[QUERIES];
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            if (query < live) four[query] = *(const float4*)(weights + query * 32 + place);
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int word = 0; word < WORDS; word++) {
                const u32 column = word * 64 + lane * 2;
                if (column >= padded) continue;
                const float2 value = halves_to_floats(*(const u32*)(values + (place + i) * padded + column));
#pragma unroll
                for (int query = 0; query < QUERIES; query++) {
                    if (query >= live) continue;
                    const float4 all = four[query];
                    const float weight = i == 0 ? all.x : i == 1 ? all.y : i == 2 ? all.z : all.w;
                    found[query].sums[word].x = __fmaf_rn(weight, value.x, found[query].sums[word].x);
                    found[query].sums[word].y = __fmaf_rn(weight, value.y, found[query].sums[word].y);
                }
            }
        }
    }
    __syncwarp();
}

// One part of the attention of a tile's rows, with one key-value head: to positions blockIdx.x * SPLIT and on; `join`
// puts the parts together. Where there are queries for one warp only, a second warp takes half of the positions; the
// halves are put together in the same way either way. A position that a row must not see changes no bit of it.
template <int WORDS>
__device__ void attend(const float* input, const Row* rows, const Tile* tiles, float* parts, float2* part_sums,
                       u32 layer, u32 heads, u32 kv_heads, u32 head_size, u32 padded, u32 splits, float scale) {
    extern __shared__ __align__(16) u8 shared[];
    const u32 key_size = padded + 8, group = heads / kv_heads, begin = blockIdx.x * SPLIT;
    u16* keys = (u16*)shared;
    u16* values = keys + SPLIT * key_size;
    float* queries = (float*)(values + SPLIT * padded);
    float* weights = queries + QUERIES * ATTENTION_WARPS * padded;
    const Tile tile = tiles[blockIdx.z];
    const Row last = rows[tile.first + tile.rows - 1];
    const u32 kv_head = blockIdx.y % kv_heads, first = blockIdx.y / kv_heads * QUERIES * ATTENTION_WARPS;
    if (first >= tile.rows * group || begin > last.position) return;
    const u32 count = min(tile.rows * group - first, QUERIES * ATTENTION_WARPS);
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, chunks = padded / 8;
    const u64 head_begin = ((u64)layer * kv_heads + kv_head) * last.capacity + begin;
#pragma unroll 4
    for (u32 at = threadIdx.x; at < SPLIT * chunks; at += 128) {
        const u32 place = at / chunks, chunk = at % chunks;
        const u64 from = (head_begin + place) * chunks + chunk;
        const uint4 none = make_uint4(0, 0, 0, 0);
        const bool is_there = begin + place <= last.position;
        *(uint4*)(keys + place * key_size + chunk * 8) = is_there ? ((const uint4*)last.keys)[from] : none;
        *(uint4*)(values + at * 8) = is_there ? ((const uint4*)last.values)[from] : none;
    }
    for (u32 at = threadIdx.x; at < count * padded; at += 128) {
        const u32 query = first + at / padded, place = at % padded;
        const u64 row = tile.first + query / group, head = kv_head * group + query % group;
        queries[at] = place < head_size ? input[(row * (heads + 2 * kv_heads) + head) * head_size + place] : 0.0f;
    }
    __syncthreads();
    const bool shares = count <= QUERIES;
    const u32 batch = shares ? 0 : warp * QUERIES, half = shares ? warp * 32 : 0;
    const int live = shares && warp > 1 ? 0 : min((int)count - (int)batch, QUERIES);
    int seen[QUERIES];
#pragma unroll
    for (int query = 0; query < QUERIES; query++) {
        const u32 row = tile.first + (first + batch + query) / group;
        seen[query] = query < live ? (int)rows[row].position + 1 - (int)(begin + half) : 0;
    }
    Part<WORDS> found[QUERIES], later[QUERIES];
    float* own_queries = queries + batch * padded;
    float* own_weights = weights + warp * QUERIES * 32;
    if (live > 0) {
        attend_32<WORDS>(found, keys + half * key_size, values + half * padded, own_queries, own_weights, seen, live,
                         padded, scale);
    }
    if (!shares && live > 0 && begin + 32 <= last.position) {
#pragma unroll
        for (int query = 0; query < QUERIES; query++) seen[query] -= 32;
        attend_32<WORDS>(later, keys + 32 * key_size, values + 32 * padded, own_queries, own_weights, seen, live, padded,
                         scale);
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            if (query < live) merge(found[query], later[query]);
        }
    }
    if (shares) {
        // The second warp hands its half over where the keys were.
        __syncthreads();
        Part<WORDS>* handed = (Part<WORDS>*)shared + lane;
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            if (warp == 1 && query < live) handed[query * 32] = found[query];
        }
        __syncthreads();
        if (warp > 0) return;
#pragma unroll
        for (int query = 0; query < QUERIES; query++) {
            if (query < live) merge(found[query], handed[query * 32]);
        }
    }
#pragma unroll
    for (int query = 0; query < QUERIES; query++) {
        if (query >= live) continue;
        const u32 number = first + batch + query;
        const u64 row = tile.first + number / group, head = kv_head * group + number % group;
        const u64 part = (row * heads + head) * splits + blockIdx.x;
        if (lane == 0) part_sums[part] = make_float2(found[query].largest, found[query].total);
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            const u32 column = word * 64 + lane * 2;
            if (column < padded) *(float2*)(parts + part * padded + column) = found[query].sums[word];
        }
    }
}

#define ATTEND(name, words)                                                                                          \
    extern "C" __global__ void __launch_bounds__(128)                                                                \
        attend_##name(const float* input, const Row* rows, const Tile* tiles, float* parts, float2* part_sums,       \
                      u32 layer, u32 heads, u32 kv_heads, u32 head_size, u32 padded, u32 splits, float scale) {      \
        attend<words>(input, rows, tiles, parts, part_sums, layer, heads, kv_heads, head_size, padded, splits, scale); \
    }

ATTEND(64, 1)
ATTEND(128, 2)
ATTEND(256, 4)

// Puts the parts of each row's attention together, from the first on.
extern "C" __global__ void __launch_bounds__(256) join(const Row* rows, const float* parts, const float2* part_sums,
                                                       float* values, u8* quants, float2* scales, u32 heads,
                                                       u32 head_size, u32 padded, u32 splits, u32 width) {
    const u32 block = blockIdx.x * 8 + threadIdx.x / 32, column = block * BLOCK + threadIdx.x % 32;
    if (block >= width / BLOCK) return;
    float value = 0.0f;
    if (column < heads * head_size) {
        const u32 count = rows[blockIdx.y].position / SPLIT + 1;
        const u64 first = ((u64)blockIdx.y * heads + column / head_size) * splits;
        float largest = NEGATIVE_INFINITY, total = 0.0f;
#pragma unroll 4
        for (u32 split = 0; split < count; split++) largest = fmaxf(largest, part_sums[first + split].x);
#pragma unroll 4
        for (u32 split = 0; split < count; split++) {
            const float2 part = part_sums[first + split];
            const float factor = expf(part.x - largest);
            total = __fmaf_rn(factor, part.y, total);
            value = __fmaf_rn(factor, parts[(first + split) * padded + column % head_size], value);
        }
        value /= total;
    }
    const Activations to = {values, quants, scales, width};
    put_block(to, blockIdx.y, block, value);
}

// Copies the first `positions` of every layer's and head's keys or values to another cache.
extern "C" __global__ void __launch_bounds__(256) copy_prefix(const uint4* from, uint4* to, u64 from_stride,
                                                              u64 to_stride, u32 size) {
    for (u32 at = blockIdx.x * 256 + threadIdx.x; at < size; at += gridDim.x * 256) {
        to[blockIdx.y * to_stride + at] = from[blockIdx.y * from_stride + at];
    }
}
