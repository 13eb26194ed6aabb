use std::fs;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::super::testing::{model, open, require_runtime};
use super::super::{OnnxRuntime, OrtConfig, initialize};
use super::*;
use crate::inference::NativeValue;
use crate::tensor::{Dim, Element, SymbolicShape, bf16, f16};

/// Binds `$runtime`, or ends the test where the environment allows that it proves nothing.
macro_rules! runtime_or_return {
    ($runtime:ident) => {
        let Some($runtime) = require_runtime() else { return };
    };
}

fn value<T: Element>(shape: &[usize], elements: Vec<T>) -> Value {
    Tensor::new(shape.to_vec(), elements).unwrap().into()
}

fn floats(value: &Value) -> Vec<f32> {
    value.to_tensor().unwrap().as_slice::<f32>().unwrap().to_vec()
}

/// A session whose results are bound to a device's memory, as with a GPU; the device is the processor here.
fn open_bound(runtime: &OnnxRuntime, name: &str) -> OrtSession {
    let mut session = OrtSession::open(runtime.environment(), &model(name).into(), &SessionOptions::default()).unwrap();
    session.results = Results::Device(AllocationDevice::CPU, 0);
    session
}

#[test]
fn a_model_runs_and_says_what_it_is() {
    runtime_or_return!(runtime);
    for file in ["relu.onnx", "relu.ort"] {
        let mut session = open(runtime, file);
        let x = value(&[1, 4], vec![-1.0f32, 2.0, -3.0, 4.0]);
        let results = session.run(&[("x", &x)], &["y"]).unwrap();
        assert_eq!(floats(&results[0]), [0.0, 2.0, 0.0, 4.0], "{file}");
        assert_eq!((results[0].shape(), results[0].dtype()), ([1, 4].as_slice(), DType::F32));
        assert_eq!(session.model(), file);
        assert_eq!(session.provider(), Provider::Cpu);
        let port = |name: &str| Port { name: name.into(), dtype: DType::F32, shape: SymbolicShape::known(&[1, 4]) };
        assert_eq!((session.inputs(), session.outputs()), ([port("x")].as_slice(), [port("y")].as_slice()));
    }
    let session = open(runtime, "relu.onnx");
    let metadata = session.metadata();
    assert_eq!((metadata.producer.as_str(), metadata.name.as_str()), ("percept-tests", "relu"));
    assert_eq!((metadata.version, metadata.opset), (Some(3), Some(17)));
    assert_eq!(metadata.custom.get("labels").map(String::as_str), Some("yes,no"));
}

#[test]
fn ports_keep_the_names_of_their_dimensions() {
    runtime_or_return!(runtime);
    let session = open(runtime, "cache.onnx");
    assert_eq!(session.inputs()[0].to_string(), "past: f32 [batch, time, 2]");
    assert_eq!(session.inputs()[1].to_string(), "x: f32 [batch, 1, 2]");
    let scalar = open(runtime, "scalar.onnx");
    assert_eq!(scalar.inputs()[0].shape, SymbolicShape::Unranked);
    let identity = open(runtime, "identity.onnx");
    let found: Vec<DType> = identity.inputs().iter().map(|port| port.dtype).collect();
    assert_eq!(found, DType::ALL);
    assert!(identity.inputs().iter().all(|port| matches!(port.shape.dims(), Some([Dim::Symbol(_), Dim::Symbol(_)]))));
}

#[test]
fn outputs_come_as_asked_in_that_order_and_twice_if_wanted() {
    runtime_or_return!(runtime);
    let (x, state) = (value(&[1, 4], vec![1.0f32; 4]), value(&[1, 4], vec![2.0f32; 4]));
    let inputs = [("state", &state), ("x", &x)];
    let mut session = open(runtime, "accumulate.onnx");
    for (asked, firsts) in [
        (vec!["y"], vec![6.0]),
        (vec!["stateN", "y"], vec![3.0, 6.0]),
        (vec!["y", "stateN", "y"], vec![6.0, 3.0, 6.0]),
        (vec![], vec![]),
    ] {
        let results = session.run(&inputs, &asked).unwrap();
        assert_eq!(results.iter().map(|value| floats(value)[0]).collect::<Vec<_>>(), firsts, "{asked:?}");
    }
}

#[test]
fn wrong_inputs_are_refused_by_name_and_the_session_goes_on() {
    runtime_or_return!(runtime);
    let pixels = value(&[1, 3, 2, 2], vec![1.0f32; 12]);
    let mut session = open(runtime, "image.onnx");
    for (name, given, message) in [
        (
            "pixels",
            value(&[3, 2], vec![0.0f32; 6]),
            "input `pixels` of model `image.onnx`: expected rank 4 [N, 3, 2, 2], found rank 2 [3, 2]",
        ),
        (
            "pixels",
            value(&[1, 1, 2, 2], vec![0.0f32; 4]),
            "input `pixels` of model `image.onnx`: expected shape [N, 3, 2, 2], found [1, 1, 2, 2]",
        ),
        ("pixels", value(&[1, 3, 2, 2], vec![0u8; 12]), "input `pixels` of model `image.onnx`: expected f32, found u8"),
        ("pixel", pixels.clone(), "model `image.onnx` has no input `pixel` (did you mean `pixels`?)"),
    ] {
        let error = session.run(&[(name, &given)], &["y"]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = session.run(&[], &["y"]).unwrap_err().to_string();
    assert!(error.contains("needs input `pixels` (f32 [N, 3, 2, 2])"), "{error}");
    let error = session.run(&[("pixels", &pixels)], &["out"]).unwrap_err().to_string();
    assert!(error.contains("has no output `out`; it has: y"), "{error}");
    assert!(session.run(&[("pixels", &pixels)], &["y"]).is_ok());
}

#[test]
fn a_model_that_fails_says_on_what_and_the_session_goes_on() {
    runtime_or_return!(runtime);
    let mut session = open(runtime, "reshape.onnx");
    let error = session.run(&[("x", &value(&[5], vec![0.0f32; 5]))], &["y"]).unwrap_err();
    assert!(matches!(&error, InferenceError::Failed { .. }), "{error}");
    assert!(error.to_string().starts_with("model `reshape.onnx` failed on x f32 [5]: "), "{error}");
    let results = session.run(&[("x", &value(&[4], vec![1.0f32, 2.0, 3.0, 4.0]))], &["y"]).unwrap();
    assert_eq!((results[0].shape(), floats(&results[0])), ([2, 2].as_slice(), vec![1.0, 2.0, 3.0, 4.0]));
}

#[test]
fn every_data_type_goes_through_empty_ones_too() {
    runtime_or_return!(runtime);
    let words = |count: usize| (0..count).map(|i| format!("wörd {i}")).collect::<Vec<String>>();
    for shape in [[2, 3], [0, 3], [2, 0], [1, 1]] {
        let count = shape[0] * shape[1];
        let numbers = || (0..count).map(|i| i as u8);
        let values = [
            value(&shape, numbers().map(|i| f16::from_f32(i.into())).collect()),
            value(&shape, numbers().map(|i| bf16::from_f32(i.into())).collect()),
            value(&shape, numbers().map(f32::from).collect()),
            value(&shape, numbers().map(f64::from).collect()),
            value(&shape, numbers().map(|i| i as i8 - 2).collect()),
            value(&shape, numbers().map(|i| i16::from(i) - 300).collect()),
            value(&shape, numbers().map(|i| i32::from(i) - 70_000).collect()),
            value(&shape, numbers().map(|i| i64::from(i) - (1 << 40)).collect()),
            value(&shape, numbers().collect()),
            value(&shape, numbers().map(|i| u16::from(i) + 60_000).collect()),
            value(&shape, numbers().map(|i| u32::from(i) + (1 << 31)).collect()),
            value(&shape, numbers().map(|i| u64::from(i) + (1 << 63)).collect()),
            value(&shape, numbers().map(|i| i % 2 == 1).collect()),
            value(&shape, words(count)),
        ];
        let inputs: Vec<(&str, &Value)> = DType::ALL.iter().map(|dtype| dtype.name()).zip(&values).collect();
        let names: Vec<String> = DType::ALL.iter().map(|dtype| format!("{dtype}_out")).collect();
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut direct = open(runtime, "identity.onnx");
        let mut bound = open_bound(runtime, "identity.onnx");
        for session in [&mut *direct as &mut dyn Session, &mut bound] {
            let results = session.run(&inputs, &asked).unwrap();
            for (result, given) in results.iter().zip(&values) {
                assert_eq!(result.to_tensor().unwrap(), *given.as_tensor().unwrap());
            }
            // The results, as they lie, are good inputs in turn.
            let again: Vec<(&str, &Value)> = DType::ALL.iter().map(|dtype| dtype.name()).zip(&results).collect();
            for (result, given) in session.run(&again, &asked).unwrap().iter().zip(&values) {
                assert_eq!(result.to_tensor().unwrap(), *given.as_tensor().unwrap());
            }
        }
    }
}

#[test]
fn a_string_with_a_nul_is_an_error() {
    runtime_or_return!(runtime);
    let mut session = open(runtime, "identity.onnx");
    let empty: Vec<Value> = DType::ALL.iter().map(|dtype| Tensor::zeros(*dtype, vec![1, 1]).unwrap().into()).collect();
    let mut inputs: Vec<(&str, &Value)> = DType::ALL.iter().map(|dtype| dtype.name()).zip(&empty).collect();
    let nul = value(&[1, 1], vec!["a\0b".to_owned()]);
    inputs[13].1 = &nul;
    let error = session.run(&inputs, &["string_out"]).unwrap_err();
    assert!(matches!(error, InferenceError::Failed { .. }), "{error}");
}

#[test]
fn a_cache_grows_from_nothing_without_leaving_the_backend() {
    runtime_or_return!(runtime);
    let mut direct = open(runtime, "cache.onnx");
    let mut bound = open_bound(runtime, "cache.onnx");
    for session in [&mut *direct as &mut dyn Session, &mut bound] {
        let mut past = value(&[2, 0, 2], Vec::<f32>::new());
        for step in 0..5u8 {
            let x = value(&[2, 1, 2], vec![f32::from(step); 4]);
            let mut results = session.run(&[("past", &past), ("x", &x)], &["sum", "present"]).unwrap();
            past = results.pop().unwrap();
            assert!(past.as_native().is_some());
            assert_eq!(past.shape(), [2, usize::from(step) + 1, 2]);
            assert_eq!(floats(&results[0]), [(0..=step).map(f32::from).sum::<f32>() * 4.0]);
            assert_eq!(results[0].shape(), [0usize; 0]);
        }
        assert_eq!(floats(&past)[..10], [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn state_fed_back_as_it_lies_equals_state_copied(
        steps in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 8), 1..12)
    ) {
        let Some(runtime) = require_runtime() else { return Ok(()) };
        let mut lying = open(runtime, "accumulate.onnx");
        let mut copying = open(runtime, "accumulate.onnx");
        let mut bound = open_bound(runtime, "accumulate.onnx");
        let zero = value(&[2, 4], vec![0.0f32; 8]);
        let (mut a, mut b, mut c) = (zero.clone(), zero.clone(), zero);
        for step in steps {
            let x = value(&[2, 4], step);
            let mut results = lying.run(&[("x", &x), ("state", &a)], &["y", "stateN"]).unwrap();
            a = results.pop().unwrap();
            let mut copied = copying.run(&[("x", &x), ("state", &b)], &["y", "stateN"]).unwrap();
            b = copied.pop().unwrap().into_tensor().unwrap().into();
            let mut on_device = bound.run(&[("x", &x), ("state", &c)], &["y", "stateN"]).unwrap();
            c = on_device.pop().unwrap();
            prop_assert_eq!(floats(&results[0]), floats(&copied[0]));
            prop_assert_eq!(floats(&results[0]), floats(&on_device[0]));
            prop_assert_eq!(floats(&a), floats(&b));
        }
    }
}

#[test]
fn results_stay_what_they_were() {
    runtime_or_return!(runtime);
    let mut direct = open(runtime, "accumulate.onnx");
    let mut bound = open_bound(runtime, "accumulate.onnx");
    for session in [&mut *direct as &mut dyn Session, &mut bound] {
        let zero = value(&[1, 4], vec![0.0f32; 4]);
        let mut run = |x: f32| {
            let x = value(&[1, 4], vec![x; 4]);
            session.run(&[("x", &x), ("state", &zero)], &["stateN"]).unwrap().remove(0)
        };
        let (first, second) = (run(1.0), run(2.0));
        assert_eq!((floats(&first), floats(&second)), (vec![1.0; 4], vec![2.0; 4]));
    }
    // And they outlive the session that computed them.
    let x = value(&[1, 4], vec![3.0f32; 4]);
    let result = direct.run(&[("x", &x), ("state", &x)], &["y"]).unwrap().remove(0);
    drop((direct, bound, x));
    assert_eq!(floats(&result), [12.0; 4]);
}

#[test]
fn an_input_handed_through_is_kept_alive() {
    runtime_or_return!(runtime);
    let mut session = open(runtime, "through.onnx");
    let x = value(&[3], vec![-1.0f32, 0.0, 1.0]);
    let results = session.run(&[("x", &x)], &["x", "y"]).unwrap();
    let address = x.as_tensor().unwrap().as_slice::<f32>().unwrap().as_ptr();
    drop(x);
    assert_eq!(results[0].as_tensor().unwrap().as_slice::<f32>().unwrap().as_ptr(), address);
    assert_eq!(floats(&results[0]), [-1.0, 0.0, 1.0]);
    assert_eq!(floats(&results[1]), [0.0, 0.0, 1.0]);
}

#[test]
fn no_other_result_lies_in_the_callers_memory() {
    runtime_or_return!(runtime);
    let x = value(&[4], vec![1.0f32, 2.0, 3.0, 4.0]);
    let given = x.as_tensor().unwrap().as_slice::<f32>().unwrap().as_ptr().addr();
    let mut direct = open(runtime, "reshape.onnx");
    let mut bound = open_bound(runtime, "reshape.onnx");
    for session in [&mut *direct as &mut dyn Session, &mut bound] {
        let result = session.run(&[("x", &x)], &["y"]).unwrap().remove(0);
        let result = result.as_native().unwrap().as_any().downcast_ref::<OrtValue>().unwrap();
        assert_ne!(result.address(), given);
    }
}

#[test]
fn values_of_another_backend_are_read_as_tensors() {
    #[derive(Debug)]
    struct Foreign(Tensor);
    impl NativeValue for Foreign {
        fn shape(&self) -> &[usize] {
            self.0.shape()
        }
        fn dtype(&self) -> DType {
            self.0.dtype()
        }
        fn to_tensor(&self) -> Result<Tensor, InferenceError> {
            Ok(self.0.clone())
        }
        fn as_any(&self) -> &dyn std::any::Any {
            self
        }
    }

    runtime_or_return!(runtime);
    let x = Value::native(Foreign(Tensor::new(vec![1, 4], vec![-1.0f32, 1.0, -2.0, 2.0]).unwrap()));
    let results = open(runtime, "relu.onnx").run(&[("x", &x)], &["y"]).unwrap();
    assert_eq!(floats(&results[0]), [0.0, 1.0, 0.0, 2.0]);
}

#[test]
fn a_port_that_is_no_tensor_is_named() {
    runtime_or_return!(runtime);
    let mut session = open(runtime, "sequence.onnx");
    assert_eq!(session.outputs().len(), 1);
    let x = value(&[2], vec![-1.0f32, 1.0]);
    assert_eq!(floats(&session.run(&[("x", &x)], &["y"]).unwrap()[0]), [0.0, 1.0]);
    let error = session.run(&[("x", &x)], &["both"]).unwrap_err();
    assert!(matches!(&error, InferenceError::UnsupportedPort { name, .. } if name == "both"), "{error}");
    let error = runtime.load(&model("sequence_input.onnx"), &SessionOptions::default()).err().unwrap();
    assert!(matches!(&error, InferenceError::UnsupportedPort { name, .. } if name == "items"), "{error}");
}

#[test]
fn a_run_is_cancelled_from_another_thread_and_stays_so_until_reset() {
    runtime_or_return!(runtime);
    let mut session = open(runtime, "count.onnx");
    let canceller = session.canceller();
    let (endless, short) = (Value::from(Tensor::scalar(1i64 << 40)), Value::from(Tensor::scalar(3i64)));
    let watchdog = thread::spawn({
        let canceller = canceller.clone();
        move || {
            thread::sleep(Duration::from_millis(50));
            canceller.cancel();
        }
    });
    let error = session.run(&[("trips", &endless)], &["total"]).unwrap_err();
    watchdog.join().unwrap();
    assert!(matches!(&error, InferenceError::Cancelled { model } if model == "count.onnx"), "{error}");
    assert!(matches!(session.run(&[("trips", &short)], &["total"]), Err(InferenceError::Cancelled { .. })));
    canceller.reset();
    assert_eq!(floats(&session.run(&[("trips", &short)], &["total"]).unwrap()[0]), [3.0]);
    // A handle that outlives its session harms nobody.
    drop(session);
    canceller.cancel();
}

#[test]
fn sessions_run_side_by_side() {
    runtime_or_return!(runtime);
    let threads: Vec<_> = (0..8u8)
        .map(|i| {
            thread::spawn(move || {
                let mut session = open(runtime, "accumulate.onnx");
                let mut state = value(&[1, 4], vec![0.0f32; 4]);
                let x = value(&[1, 4], vec![f32::from(i); 4]);
                for _ in 0..50 {
                    state = session.run(&[("x", &x), ("state", &state)], &["stateN"]).unwrap().remove(0);
                }
                assert_eq!(floats(&state), [50.0 * f32::from(i); 4]);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_pool_of_its_own_gives_the_same_result() {
    runtime_or_return!(runtime);
    let options = SessionOptions { threads: NonZeroUsize::new(2), ..SessionOptions::default() };
    let mut session = runtime.load(&model("relu.onnx"), &options).unwrap();
    let x = value(&[1, 4], vec![-1.0f32, 1.0, -2.0, 2.0]);
    assert_eq!(floats(&session.run(&[("x", &x)], &["y"]).unwrap()[0]), [0.0, 1.0, 0.0, 2.0]);
}

#[test]
fn a_provider_that_is_not_there_is_refused_unless_another_may_take_its_place() {
    runtime_or_return!(runtime);
    for provider in [Provider::Cuda, Provider::TensorRt] {
        let mut options = SessionOptions { providers: vec![provider, Provider::Cpu], ..SessionOptions::default() };
        let error = match runtime.load(&model("relu.onnx"), &options) {
            Ok(session) => {
                // This machine has the device: then it must really serve.
                assert_eq!(session.provider(), provider);
                continue;
            }
            Err(error) => error,
        };
        assert!(matches!(&error, InferenceError::ProviderUnavailable { provider: named, .. } if *named == provider));
        let text = error.to_string();
        for part in ["relu.onnx", provider.name(), "onnxruntime-gpu", "cuDNN 9", "allow_fallback: true"] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert_eq!(text.contains("--features gpu"), !cfg!(feature = "gpu"), "{text}");
        for providers in [vec![provider, Provider::Cpu], vec![provider]] {
            options = SessionOptions { providers, allow_fallback: true, ..SessionOptions::default() };
            assert_eq!(runtime.load(&model("relu.onnx"), &options).unwrap().provider(), Provider::Cpu);
        }
    }
    let none = SessionOptions { providers: Vec::new(), ..SessionOptions::default() };
    let error = runtime.load(&model("relu.onnx"), &none).err().unwrap();
    assert!(matches!(error, InferenceError::NoProvider { .. }), "{error}");
}

#[test]
fn files_that_are_no_models_are_refused() {
    runtime_or_return!(runtime);
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(model("identity.onnx")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let options = SessionOptions::default();
    for path in [
        write("half.onnx", &whole[..whole.len() / 2]),
        write("empty.onnx", b""),
        write("text.onnx", b"this is no model"),
        write("text.ort", b"this is no model either, and long enough for a header"),
        folder.path().to_owned(),
    ] {
        let error = runtime.load(&path, &options).err().unwrap();
        assert!(matches!(&error, InferenceError::ModelRefused { .. }), "{}: {error}", path.display());
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let error = runtime.load(&folder.path().join("absent.onnx"), &options).err().unwrap();
    assert!(matches!(error, InferenceError::ModelMissing { .. }), "{error}");
}

#[test]
fn a_second_set_up_gets_the_first() {
    runtime_or_return!(runtime);
    let library = runtime.config().library.clone();
    let other = OrtConfig { pool_threads: NonZeroUsize::new(7), ..OrtConfig::new(library) };
    assert!(std::ptr::eq(initialize(&other).unwrap(), runtime));
    assert!(std::ptr::eq(initialize(&OrtConfig::new("/nowhere/libonnxruntime.so")).unwrap(), runtime));
    assert_ne!(runtime.config().pool_threads, NonZeroUsize::new(7));
    assert!(runtime.build_info().contains("ORT Build Info"), "{}", runtime.build_info());
}
