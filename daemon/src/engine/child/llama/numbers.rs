//! Numbers out of the types in which files hold them.

use llama_cpp_sys_2 as sys;

use crate::gguf::TensorType;

/// The numbers of a tensor's data, as many as are asked for; none if the data is not of that size, or ggml knows no way.
pub fn numbers(kind: TensorType, data: &[u8], count: usize) -> Option<Vec<f32>> {
    let (block, bytes) = (usize::try_from(kind.block_elements()).ok()?, usize::try_from(kind.block_bytes()).ok()?);
    if !count.is_multiple_of(block) || data.len() != count / block * bytes {
        return None;
    }
    if kind.name() == "F32" {
        return Some(data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect());
    }
    // SAFETY: the number is that of a type: the reader of files knows no others. What ggml answers is static.
    let convert = unsafe { sys::ggml_get_type_traits(kind.code()).as_ref() }?.to_float?;
    // Blocks begin with numbers of 16 bits, which ggml reads where they lie: a copy is aligned for all of them.
    let mut aligned = vec![0_u64; data.len().div_ceil(size_of::<u64>())];
    // SAFETY: the copy has at least as many bytes, and they do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), aligned.as_mut_ptr().cast::<u8>(), data.len()) };
    let mut values = vec![0.0; count];
    // SAFETY: both buffers are as long as so many numbers of this type are, which was checked above.
    unsafe { convert(aligned.as_ptr().cast(), values.as_mut_ptr(), i64::try_from(count).ok()?) };
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::TensorType;

    fn kind(name: &str) -> TensorType {
        TensorType::named(name).unwrap()
    }

    #[test]
    fn of_every_precision() {
        let floats: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(numbers(kind("F32"), &floats, 2), Some(vec![1.5, -2.0]));
        // 1.5 and -2 in half precision.
        assert_eq!(numbers(kind("F16"), &[0x00, 0x3e, 0x00, 0xc0], 2), Some(vec![1.5, -2.0]));
        // A scale of 0.5, and 32 numbers.
        let block: Vec<u8> =
            [0x00, 0x38].into_iter().chain((0..32_i8).map(|number| (number - 16).cast_unsigned())).collect();
        let expected: Vec<f32> = (0..32_i8).map(|number| f32::from(number - 16) / 2.0).collect();
        assert_eq!(numbers(kind("Q8_0"), &block, 32), Some(expected));
    }

    #[test]
    fn data_of_another_size_is_none() {
        assert_eq!(numbers(kind("F32"), &[0; 7], 2), None);
        assert_eq!(numbers(kind("Q8_0"), &[0; 34], 31), None);
        assert_eq!(numbers(kind("I8"), &[0; 4], 4), None, "no way to make numbers of them");
    }
}
