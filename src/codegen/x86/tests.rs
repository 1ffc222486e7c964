//! What is encoded is what a disassembler reads; values that find no register are found again.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::call::{self, Call};
use super::encode::Encoder;
use super::machine::{Address, Base, Bound, Class, Code, Form, Inst, Item, Operand, Reg, Writes};
use std::fmt::Debug;

use super::{Assembly, Isa, kernel, steps};
use crate::codegen::tape::Tape;
use crate::codegen::{Cpu, Listing};
use crate::loops::{
    Access, Affine, Binary, Buffer, BufferId, Combine, Instr, Kernel, LoopVar, Part, Place, Stmt, Task, Var,
};
use crate::prelude::*;
use crate::{Options, Scalar};

mod ahead;
mod allocate;
mod masks;
mod plan;
mod short_rows;
mod straight;
mod turns;

/// Graphs that between them need every instruction.
fn programs() -> Vec<crate::loops::Program> {
    let floats = |dtype: DType| {
        let g = Graph::new();
        let (x, y) = (g.input("x", [7, 45], dtype), g.input("y", [7, 45], dtype));
        let results = [
            (x * y + x).tanh() / (y.abs() + 1.0).sqrt() - x.exp() * x.erf() + x.log(),
            x.maximum(y).softmax(1) + x.minimum(y).floor() + y.ceil() * x.round() + x.sign(),
            x.less(y).select(x, 2.0) - x.slice_step(1, 0..45, 2).pad(1, 11, 11) + x.reverse(1),
            x.slice_step(1, 0..45, 3).exp().pad(1, 15, 15),
            x.max(1).reshape([7, 1]) + x.prod(0) + y.pad(1, 3, 0).slice(1, 0..45),
            x.transpose().exp().transpose() * (x.less(0.5) & !y.equal(1.0) | x.not_equal(y)).cast(dtype),
            g.iota([7, 45], 1, dtype) * g.iota([7, 45], 0, dtype) + x.take(0, g.iota([7], 0, I32))
                - x.expm1(),
            x.sin() + y.cos().tan() * x.asin() - y.pow(x) + x.atan2(y) % (y + 2.0),
        ];
        let flags = x.less(y) ^ x.cast(Bool);
        let named = results.iter().enumerate().map(|(number, result)| (format!("r{number}"), *result));
        let named = named.chain([("flags".into(), flags), ("picked".into(), flags.reverse(0).select(y, x))]);
        let function = named.fold(g.function(), |function, (name, result)| function.output(&name, result));
        function.schedule(&Options::default()).unwrap().program
    };
    let integers = |dtype| {
        let g = Graph::new();
        let (i, j) = (g.input("i", [5, 40], dtype), g.input("j", [5, 40], dtype));
        let y = (i * j - i.abs() + j.sign()).maximum(3.0) & (i | j) ^ !i;
        let z = y + i.less_equal(j).cast(dtype);
        let function =
            g.function().output("y", y).output("z", z).output("sum", z.sum(1)).output("max", z.max(1));
        let shifted = (i << j) + (i >> j) - (i % 4.0) / 8.0 + i.shift_right_logical(j);
        let divided = if dtype == I32 { i / j + i % 3.0 } else { i };
        let picked = i.take_along_axis(0, j) + i.take_along_axis(1, j);
        function
            .output("shifted", shifted)
            .output("divided", divided)
            .output("picked", picked)
            .schedule(&Options::default())
            .unwrap()
            .program
    };
    let cast = |from, to| {
        let g = Graph::new();
        let x = g.input("x", [5, 40], from);
        g.function().output("y", x.cast(to) * 3.0).schedule(&Options::default()).unwrap().program
    };
    let casts = [(F32, I32), (I32, F32), (F64, I64), (I64, F64), (Bool, I64)];
    let casts = casts.map(|(from, to)| cast(from, to));
    let random = || {
        let g = Graph::new();
        let bits = g.random_key("key", 1).random_bits([5, 40], I32);
        g.function().output("bits", bits).schedule(&Options::default()).unwrap().program
    };
    let shared = || {
        let g = Graph::new();
        let x = g.input("x", [1000, 2000], F32);
        g.function().output("y", x.tanh().sum(1)).schedule(&Options::default()).unwrap().program
    };
    let spread = |dtype| {
        [(2, false), (2, true), (3, false)].map(|(step, is_paired)| spreading(dtype, 45, step, is_paired))
    };
    let spread = [F32, F64].into_iter().flat_map(spread);
    let own = [floats(F32), floats(F64), integers(I32), integers(I64), random(), shared()];
    own.into_iter().chain(casts).chain(spread).collect()
}

/// The code of all kernels, or of loops over steps.
fn assemblies(isa: Isa) -> Vec<Assembly> {
    if isa == Isa::Avx2Short {
        let programs = straight::programs();
        return programs.iter().filter_map(|program| steps(&Tape::of(program), program)).collect();
    }
    let kernels = |program: &crate::loops::Program| {
        let kernels = program.kernels().into_iter();
        kernels.filter_map(|each| kernel(program, each, isa)).collect::<Vec<_>>()
    };
    programs().iter().flat_map(kernels).collect()
}

/// The instructions of all kernels.
fn instructions(isa: Isa) -> Vec<Inst> {
    let mut found = Vec::new();
    let assemblies = assemblies(isa);
    let least = if isa == Isa::Avx2Short { 2 } else { 6 };
    assert!(
        assemblies.len() >= least,
        "only {} kernels are written in {} code",
        assemblies.len(),
        isa.name()
    );
    for item in assemblies.iter().flat_map(|assembly| &assembly.items) {
        match item {
            Item::Inst(inst) => found.push(*inst),
            Item::Call(call) => {
                found.extend(call.mask.map(Call::test));
                found.extend(call.around().into_iter().flatten());
            }
            _ => {}
        }
    }
    for assembly in &assemblies {
        let registers = call::to_put_aside(&assembly.items);
        let calls = assembly
            .items
            .iter()
            .filter_map(|item| if let Item::Call(call) = item { Some(call) } else { None });
        found.extend(calls.flat_map(|call| call::bridge(isa, call.function, &registers).concat()));
    }
    found
}

fn decoded(bytes: &[u8]) -> Instruction {
    let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
    assert_eq!((instruction.len(), instruction.is_invalid()), (bytes.len(), false), "{bytes:x?}");
    instruction
}

/// The register's number; vectors and masks have names of their own in the disassembler.
fn number(register: Register) -> u32 {
    match register {
        register if register.is_gpr() => register.full_register() as u32 - Register::RAX as u32,
        register if register.is_vector_register() => register.full_register() as u32 - Register::ZMM0 as u32,
        register => register as u32 - Register::K0 as u32,
    }
}

/// Holds the encoded instruction against what it is meant to be.
fn check(inst: &Inst, isa: Isa) {
    let mut encoder = Encoder::new(isa);
    encoder.inst(inst);
    let bytes = encoder.bytes();
    let read = decoded(bytes);
    let context = format!("{inst} is read as {read:?} from {bytes:x?}");
    let name = format!("{}{}", inst.code.name, inst.code.suffix);
    assert_eq!(format!("{:?}", read.mnemonic()).to_lowercase(), name, "{context}");
    let registers: Vec<u32> = (0..read.op_count())
        .filter(|&at| read.op_kind(at) == OpKind::Register)
        .map(|at| number(read.op_register(at)))
        .collect();
    let direct = match inst.operand {
        Operand::Reg(reg) => Some(reg),
        Operand::Memory(address) => {
            check_address(&read, address, &context);
            None
        }
        Operand::Broadcast(address) => {
            assert!(read.is_broadcast(), "{context}");
            check_address(&read, address, &context);
            None
        }
    };
    let mut expected: Vec<u32> =
        [inst.reg, inst.second, direct].into_iter().flatten().map(|reg| reg.number).collect();
    if matches!(inst.code.writes, Writes::Operand | Writes::NoRegister) {
        expected.reverse();
    }
    // Without registers for masks, one is an operand like others.
    let (last, mask) = if !isa.has_masks() { (inst.mask, None) } else { (None, inst.mask) };
    expected.extend(last.map(|reg| reg.number));
    assert_eq!(registers, expected, "{context}");
    let read_mask = if read.has_op_mask() { number(read.op_mask()) } else { 0 };
    assert_eq!(read_mask, mask.map_or(0, |mask| mask.number), "{context}");
    assert_eq!(read.zeroing_masking(), inst.zeroes, "{context}");
    if let Some(immediate) = inst.immediate {
        let at = read.op_count() - 1;
        let bits = if inst.code.form == Form::Plain { 32 } else { 8 };
        assert_eq!((read.immediate(at) as i32) << (32 - bits), immediate << (32 - bits), "{context}");
    }
}

fn check_address(read: &Instruction, address: Address, context: &str) {
    let Base::Reg(base) = address.base else {
        assert!(read.is_ip_rel_memory_operand(), "{context}");
        return;
    };
    assert_eq!(number(read.memory_base()), base.number, "{context}");
    assert_eq!(read.memory_displacement64() as i64, i64::from(address.offset), "{context}");
    if let Some((index, scale)) = address.index {
        assert_eq!(
            (number(read.memory_index()), read.memory_index_scale()),
            (index.number, scale.into()),
            "{context}"
        );
    } else {
        assert_eq!(read.memory_index(), Register::None, "{context}");
    }
}

/// Each instruction that kernels need, as it came and with every register of its kinds in turn.
#[test]
fn a_disassembler_reads_what_was_meant() {
    for (isa, inst) in
        Isa::ALL.into_iter().flat_map(|isa| instructions(isa).into_iter().map(move |inst| (isa, inst)))
    {
        check(&inst, isa);
        for turn in 0..32 {
            check(&varied(inst, isa, turn), isa);
        }
    }
}

/// The instruction with other registers and another offset.
fn varied(inst: Inst, isa: Isa, turn: u32) -> Inst {
    let vectors = isa.registers(Class::Vector).len() as u32;
    let inst = inst.map(|reg| Reg {
        number: match reg.class {
            Class::General => {
                [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15][(reg.number + turn) as usize % 15]
            }
            Class::Vector => (reg.number + turn) % vectors,
            Class::Mask => 1 + (reg.number + turn) % 7,
        },
        ..reg
    });
    let offset = [0, 4, 64, -64, 4096, 8192, -8192, 100_000, 3][turn as usize % 9];
    let moved = |address: Address| match address.base {
        Base::Reg(_) => Address { offset, ..address },
        Base::Constants => address,
    };
    let operand = match inst.operand {
        Operand::Memory(address) => Operand::Memory(moved(address)),
        Operand::Broadcast(address) => Operand::Broadcast(moved(address)),
        direct => direct,
    };
    Inst { operand, ..inst }
}

/// Loops go back to their start, whatever bounds them.
#[test]
fn loops_jump_back() {
    let counter = Reg { class: Class::General, number: 12 };
    for to in [Bound::Number(1000), Bound::Reg(Reg { number: 9, ..counter })] {
        let inner = Item::Inst(Inst::add(counter, counter, 5));
        let items = [Item::Begin, inner, Item::End { counter, step: 16, to }];
        let bytes = Encoder::function(Isa::Avx512, &items, 0, &[], &[]);
        let read: Vec<Instruction> =
            Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).into_iter().take(6).collect();
        let names: Vec<String> = read.iter().map(|read| format!("{:?}", read.mnemonic())).collect();
        assert_eq!(names, ["Lea", "Add", "Cmp", "Jl", "Vzeroupper", "Ret"]);
        assert_eq!(read[3].near_branch_target(), 0);
    }
}

/// A rare call is a jump behind the function and back; what is called there, the bridge, has the frame to itself.
#[test]
fn calls_go_by_a_bridge() {
    let [x, y, result] = [3, 4, 5].map(|number| Reg { class: Class::Vector, number });
    let mask = Reg { class: Class::Mask, number: 2 };
    let call = |mask| {
        let function = Address::constant(8);
        Item::Call(Call { name: "f", function, operands: [x, y], result, mask, lanes: 16, is_wide: false })
    };
    let bytes = Encoder::function(Isa::Avx512, &[call(Some(mask)), call(None)], 0, &[], &[0; 16]);
    let read: Vec<Instruction> =
        Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).into_iter().take(60).collect();
    let all = |mnemonic| read.iter().filter(move |read| read.mnemonic() == mnemonic);
    let first = |mnemonic| all(mnemonic).next().copied().unwrap();
    let after = |mnemonic| first(mnemonic).next_ip();
    let bridge = read.iter().find(|read| read.mnemonic() == Mnemonic::Push).unwrap().ip();
    assert_eq!(first(Mnemonic::Kortestw).next_ip(), first(Mnemonic::Jne).ip());
    assert_eq!(first(Mnemonic::Jne).near_branch_target(), after(Mnemonic::Ret));
    assert_eq!(first(Mnemonic::Jmp).near_branch_target(), after(Mnemonic::Jne));
    let calls: Vec<&Instruction> = all(Mnemonic::Call).collect();
    assert_eq!(calls.len(), 3);
    assert!(calls[..2].iter().all(|call| call.near_branch_target() == bridge));
    assert_eq!(calls[2].memory_displacement64() as usize, bytes.len() - 16 + 8);
    let before = read.iter().find(|read| read.next_ip() == calls[2].ip()).unwrap();
    assert_eq!(before.mnemonic(), Mnemonic::Vzeroupper);
}

/// Rows enough for a program that is not straight-line code.
const ROWS: usize = 200;

/// A kernel that stores the doubles of rows to every `step`-th element, and, of two, the rows to those between.
fn spreading(dtype: DType, extent: usize, step: i64, is_paired: bool) -> crate::loops::Program {
    let (row, i) = (Affine::var(LoopVar(0)), Affine::var(LoopVar(1)));
    let (input, output) = (BufferId(0), BufferId(1));
    let spread = row.scaled(extent as i64 * step).plus(&i.scaled(step));
    let at = |offset| Access { buffer: output, index: spread.plus(&Affine::constant(offset)) };
    let load = Instr::Load(Access { buffer: input, index: row.scaled(extent as i64).plus(&i) });
    let mut body = vec![
        Stmt::Let { dst: Var(0), instr: load },
        Stmt::Let { dst: Var(1), instr: Instr::Binary(Binary::Add, Var(0), Var(0)) },
        Stmt::Store { access: at(0), value: Var(1) },
    ];
    body.extend(is_paired.then(|| Stmt::Store { access: at(1), value: Var(0) }));
    let kernel = Kernel {
        name: "spread".into(),
        repeats: 0,
        extents: vec![ROWS, extent],
        dtypes: vec![dtype; 2],
        body: vec![Stmt::For { var: LoopVar(0), body: vec![Stmt::For { var: LoopVar(1), body }] }],
        sources: vec![],
        is_parallel: false,
    };
    let buffer =
        |name: &str, elements, place| Buffer { name: name.into(), dtype, elements, place, panels: None };
    let buffers = vec![
        buffer("x", ROWS * extent, Place::Input { index: 0 }),
        buffer("y", ROWS * extent * step as usize, Place::Output { offset: 0 }),
    ];
    crate::loops::Program { buffers, tasks: vec![Task::Run(kernel)], arena_bytes: 0 }
}

/// Rows that are summed some at a time, each element after it was read and written: the sum is of what was written.
#[test]
fn sums_share_nothing_across_a_store() {
    let extent = 128;
    let mut program = spreading(DType::F32, extent, 1, false);
    program.buffers.push(Buffer {
        name: "sums".into(),
        elements: ROWS,
        place: Place::Output { offset: ROWS * extent * 4 },
        ..program.buffers[1].clone()
    });
    program.each_kernel_mut(|kernel| {
        let (row, [old, two, new, sum]) = (Affine::var(LoopVar(0)), [0, 1, 2, 3].map(Var));
        let index = row.scaled(extent as i64).plus(&Affine::var(LoopVar(1)));
        let at = Access { buffer: BufferId(1), index };
        let body = vec![
            Stmt::Let { dst: old, instr: Instr::Load(at.clone()) },
            Stmt::Store { access: at.clone(), value: two },
            Stmt::Let { dst: new, instr: Instr::Load(at) },
        ];
        let parts = vec![Part { dst: sum, value: new, combine: Combine::Sum }];
        let body = vec![
            Stmt::Reduce { var: LoopVar(1), body, parts },
            Stmt::Store { access: Access { buffer: BufferId(2), index: row }, value: sum },
        ];
        let constant = Stmt::Let { dst: two, instr: Instr::Constant(Scalar::F32(2.0)) };
        kernel.dtypes = vec![DType::F32; 4];
        kernel.body = vec![constant, Stmt::For { var: LoopVar(0), body }];
    });
    let mut y = vec![-1.0f32; ROWS * extent + ROWS];
    run(&program, &vec![0.0; ROWS * extent], &mut y);
    let (elements, sums) = y.split_at(ROWS * extent);
    assert!(elements.iter().all(|&y| y == 2.0) && sums.iter().all(|&sum| sum == 2.0 * extent as f32));
}

/// A guard that promises more elements than the buffer has: those that it lacks are zero, and not read. One row is
/// straight-line code.
#[test]
fn guards_do_not_reach_beyond_buffers() {
    let (extent, held) = (45, 20);
    for rows in [1, ROWS] {
        let mut program = spreading(DType::F32, extent, 1, false);
        program.buffers[0].elements = held;
        program.each_kernel_mut(|kernel| {
            let i = Affine::var(LoopVar(1));
            let access = Access { buffer: BufferId(0), index: i.clone() };
            let load = Stmt::Let { dst: Var(0), instr: Instr::LoadWithin(access, vec![(i, 1000)]) };
            let mut put = |stmt: &mut Stmt| {
                if matches!(stmt, Stmt::Let { dst: Var(0), .. }) {
                    *stmt = load.clone();
                }
            };
            kernel.body.iter_mut().for_each(|stmt| stmt.each_mut(&mut put));
            kernel.extents[0] = rows;
        });
        let x = vec![1.0f32; extent];
        let mut y = vec![-1.0f32; rows * extent];
        run(&program, &x, &mut y);
        let expected = |at: usize| if at % extent < held { 2.0 } else { 0.0 };
        assert!(y.iter().enumerate().all(|(at, &y)| y == expected(at)), "{rows} rows: {y:?}");
    }
}

/// Indices that lanes of 32 bits do not hold.
#[test]
fn large_indices_stay_whole() {
    let (extent, start) = (45, 1i64 << 33);
    let mut program = spreading(DType::F32, extent, 1, false);
    program.each_kernel_mut(|kernel| {
        let number = Var(kernel.dtypes.len() as u32);
        kernel.dtypes.push(DType::I64);
        let index = Affine::var(LoopVar(1)).scaled(1 << 20).plus(&Affine::constant(start));
        let lets = [(number, Instr::Index(index)), (Var(0), Instr::Cast(number))];
        kernel.body.iter_mut().for_each(|stmt| {
            stmt.each_mut(&mut |stmt| {
                if let Stmt::For { var: LoopVar(1), body } = stmt {
                    body.splice(..1, lets.clone().map(|(dst, instr)| Stmt::Let { dst, instr }));
                }
            });
        });
    });
    let mut y = vec![-1.0f32; ROWS * extent];
    run(&program, &vec![0.0; ROWS * extent], &mut y);
    for (at, &y) in y.iter().enumerate() {
        assert_eq!(y, 2.0 * (start + ((at % extent) << 20) as i64) as f32, "element {at}");
    }
}

/// Runs a program of one input and one output, with the same result on vectors of every width.
fn run<Y: Clone + Debug + PartialEq>(program: &crate::loops::Program, x: &[f32], y: &mut [Y]) {
    let mut narrow = y.to_vec();
    run_on(Cpu::Native, program, x, y);
    run_on(Cpu::WithoutAvx512, program, x, &mut narrow);
    assert_eq!(narrow, y, "without AVX-512");
}

fn run_on<Y>(cpu: Cpu, program: &crate::loops::Program, x: &[f32], y: &mut [Y]) {
    program.verify().unwrap();
    let code = crate::codegen::compile(program, cpu, crate::runtime::library(cpu), Listing::None).unwrap();
    let inputs = [x.as_ptr().cast::<u8>()];
    let nothing = std::ptr::null_mut();
    // SAFETY: the program has one input and one output, of these sizes at most, no state and no arena.
    unsafe { (code.steps)(nothing, inputs.as_ptr(), y.as_mut_ptr().cast(), nothing, 1) };
}

/// What lies between the elements stored, and behind the last, keeps its value.
#[test]
fn stores_apart_leave_the_others() {
    for (extent, step, is_paired) in
        [(5, 2, false), (9, 2, true), (16, 2, true), (37, 2, false), (40, 2, true), (21, 3, false)]
    {
        let program = spreading(DType::F32, extent, step, is_paired);
        let x: Vec<f32> = (1..=ROWS * extent).map(|x| x as f32).collect();
        let mut y = vec![-1.0f32; ROWS * extent * step as usize + 32];
        run(&program, &x, &mut y);
        for (at, &y) in y.iter().enumerate() {
            let (i, place) = (at / step as usize, at % step as usize);
            let expected = match place {
                0 if i < x.len() => 2.0 * x[i],
                1 if i < x.len() && is_paired => x[i],
                _ => -1.0,
            };
            assert_eq!(y, expected, "element {at} of rows of {extent} by {step}, paired: {is_paired}");
        }
    }
}

/// Rows whose elements are stored in the opposite order.
#[test]
fn stores_may_run_backwards() {
    for extent in [8, 16, 45] {
        let mut program = spreading(DType::F32, extent, 1, false);
        program.each_kernel_mut(|kernel| {
            let (row, i) = (Affine::var(LoopVar(0)), Affine::var(LoopVar(1)));
            let last = Affine::constant(extent as i64 - 1);
            let index = row.scaled(extent as i64).plus(&last).plus(&i.scaled(-1));
            let mut turn = |stmt: &mut Stmt| {
                if let Stmt::Store { access, .. } = stmt {
                    access.index = index.clone();
                }
            };
            kernel.body.iter_mut().for_each(|stmt| stmt.each_mut(&mut turn));
        });
        let x: Vec<f32> = (1..=ROWS * extent).map(|x| x as f32).collect();
        let mut y = vec![-1.0f32; ROWS * extent];
        run(&program, &x, &mut y);
        let expected: Vec<f32> = x.chunks(extent).flat_map(|row| row.iter().rev().map(|x| 2.0 * x)).collect();
        assert_eq!(y, expected, "rows of {extent}");
    }
}

/// More values, masks and addresses at once than there are registers.
#[test]
fn what_finds_no_register_is_on_the_stack() {
    let g = Graph::new();
    let inputs: Vec<Tensor<'_>> =
        (0..24).map(|number| g.input(&format!("x{number:02}"), [5, 19], F32)).collect();
    let wide: Vec<Tensor<'_>> = (inputs.iter()).flat_map(|&x| [x * 1.5, (x + 0.25).exp()]).collect();
    let masks: Vec<Tensor<'_>> = inputs.windows(2).map(|pair| pair[0].less(pair[1])).collect();
    // Each is used once on the way there and once on the way back.
    let there = wide.iter().fold(inputs[0], |sum, &x| sum * 0.5 + x);
    // All are kept over calls, whose angles are the library's in some lanes.
    let angle = (there * 4.0 + 0.3).round() * 1e5;
    let there = there + angle.sin() + there.atan();
    let back = wide.iter().rev().fold(there, |sum, &x| sum.maximum(x) - x);
    let chosen = masks.iter().fold(back, |sum, &mask| mask.select(sum + 1.0, sum * 0.5));
    let result = masks.iter().rev().fold(chosen, |sum, &mask| mask.select(sum, sum - 2.0));
    let given: Vec<(String, Value)> = (inputs.iter().enumerate())
        .map(|(number, x)| {
            let elements = (0..95).map(|at| Scalar::F32(((at * 37 + number * 11) % 19) as f32 / 10.0 - 0.9));
            (format!("x{number:02}"), Value::from_elements(x.ty(), elements))
        })
        .collect();
    let given: Vec<(&str, Value)> =
        given.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let expected = g.interpret(&[("y", result)], &given).unwrap()["y"].to_f64();
    for cpu in [Cpu::Native, Cpu::WithoutAvx512] {
        let options = Options { cpu, ..Options::default() };
        let compiled = g.function().output("y", result).compile_with(&options).unwrap();
        let inputs = given
            .iter()
            .fold(compiled.inputs(), |inputs, (name, value)| inputs.with(name, value.clone()).unwrap());
        let actual = compiled.run(&mut compiled.state(), &inputs).unwrap().output("y").unwrap().to_f64();
        for (expected, actual) in expected.iter().zip(&actual) {
            assert!((expected - actual).abs() <= 1e-5 * expected.abs().max(1.0), "{expected} and {actual}");
        }
    }
}

/// A code's name says what it is.
#[test]
fn instructions_print_as_assembly() {
    let [a, b] = [1, 17].map(|number| Reg { class: Class::Vector, number });
    let (k, base) = (Reg { class: Class::Mask, number: 2 }, Reg { class: Class::General, number: 7 });
    let add = Code::float("vadd", 1, 0x58, 4);
    let inst = Inst::new(add, a, b, Operand::Broadcast(Address::at(base, 16))).zeroing(Some(k));
    assert_eq!(inst.to_string(), "vaddps zmm1{k2}{z}, zmm17, [rdi + 0x10]{1to16}");
    let store = Inst::new(add.writing(Writes::NoRegister), a, b, Operand::Memory(Address::at(base, 0)));
    assert_eq!(store.masked(Some(a)).to_string(), "vaddps [rdi], zmm17, zmm1, zmm1");
}
