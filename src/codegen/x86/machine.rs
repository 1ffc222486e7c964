//! Machine instructions: one form for all, with virtual registers until [`super::allocate`] has named real ones.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::call::Call;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// 64 bits: addresses and counters.
    General,
    /// As many lanes of 32 or of 64 bits as there are.
    Vector,
    /// A bit a lane.
    Mask,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::General, Class::Vector, Class::Mask];
}

/// A register: virtual at first, then the processor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reg {
    pub class: Class,
    pub number: u32,
}

impl Reg {
    pub fn index(self) -> usize {
        self.number as usize
    }
}

/// The stack pointer.
pub const STACK: Reg = Reg { class: Class::General, number: 4 };

/// The registers that hold the first arguments, by the System V convention: rdi, rsi, rdx, rcx, r8, r9.
pub const ARGUMENTS: [u32; 6] = [7, 6, 2, 1, 8, 9];

/// Where an address starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    Reg(Reg),
    /// The constants that lie behind the code.
    Constants,
}

/// `base + index · scale + offset`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    pub base: Base,
    pub index: Option<(Reg, u8)>,
    pub offset: i32,
}

impl Address {
    pub fn at(base: Reg, offset: i32) -> Address {
        Address { base: Base::Reg(base), index: None, offset }
    }

    pub fn constant(offset: i32) -> Address {
        Address { base: Base::Constants, index: None, offset }
    }

    fn each_register(&self, mut f: impl FnMut(Reg)) {
        if let Base::Reg(base) = self.base {
            f(base);
        }
        self.index.into_iter().for_each(|(index, _)| f(index));
    }
}

/// The operand that may lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Reg(Reg),
    Memory(Address),
    /// One element for all lanes.
    Broadcast(Address),
}

/// How an instruction is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// Vectors, or their lowest lanes: EVEX with AVX-512, VEX with AVX2.
    Vector,
    /// Masks; whether on two operands.
    Mask { is_binary: bool },
    /// General registers, of 64 bits.
    Plain,
}

/// Which operand an instruction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writes {
    /// `reg`.
    Reg,
    /// `reg`, whose old value it uses.
    RegUpdated,
    /// `reg`, from one operand or the other as the mask says.
    RegSelected,
    Second,
    Operand,
    /// Memory, or flags.
    NoRegister,
}

/// An instruction of the processor. Names and numbers are those of Intel's manual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub name: &'static str,
    /// The end of the name: the type of the lanes.
    pub suffix: &'static str,
    pub form: Form,
    /// The table of opcodes: 0 for one byte, 1 for 0F, 2 for 0F38, 3 for 0F3A.
    pub map: u8,
    /// The mandatory prefix: 0 for none, 1 for 66, 2 for F3, 3 for F2.
    pub prefix: u8,
    /// Bit W: 64 instead of 32 bits, mostly.
    pub is_wide: bool,
    pub byte: u8,
    /// More of the opcode, in the place of `reg`.
    pub digit: u8,
    pub writes: Writes,
    /// Bytes in memory, if not a whole vector.
    pub bytes: u8,
    /// On the lowest lane alone.
    pub is_scalar: bool,
}

/// The numbers tell most instructions apart.
impl Hash for Code {
    fn hash<H: Hasher>(&self, state: &mut H) {
        u32::from_le_bytes([self.byte, self.map, self.prefix, self.digit]).hash(state);
    }
}

impl Code {
    /// A vector instruction on lanes of floats.
    pub const fn float(name: &'static str, map: u8, byte: u8, width: usize) -> Code {
        let is_wide = width == 8;
        // In the first table the prefix tells the types apart, in the others the width alone does.
        let prefix = if map == 1 { is_wide as u8 } else { 1 };
        Code { suffix: if is_wide { "pd" } else { "ps" }, is_wide, prefix, ..Code::vector(name, map, byte) }
    }

    /// A vector instruction on lanes of integers, or bits.
    pub const fn integer(name: &'static str, map: u8, byte: u8, width: usize) -> Code {
        let is_wide = width == 8;
        Code { suffix: if is_wide { "q" } else { "d" }, is_wide, ..Code::vector(name, map, byte) }
    }

    const fn vector(name: &'static str, map: u8, byte: u8) -> Code {
        Code {
            name,
            suffix: "",
            form: Form::Vector,
            map,
            prefix: 1,
            is_wide: false,
            byte,
            digit: 0,
            writes: Writes::Reg,
            bytes: 64,
            is_scalar: false,
        }
    }

    /// An instruction on masks.
    pub const fn mask(name: &'static str, byte: u8, is_binary: bool) -> Code {
        Code { form: Form::Mask { is_binary }, prefix: 0, bytes: 2, ..Code::vector(name, 1, byte) }
    }

    /// An instruction on general registers.
    pub const fn plain(name: &'static str, byte: u8) -> Code {
        Code { form: Form::Plain, prefix: 0, is_wide: true, bytes: 8, ..Code::vector(name, 0, byte) }
    }

    pub const fn with_prefix(self, prefix: u8) -> Code {
        Code { prefix, ..self }
    }

    pub const fn with_digit(self, digit: u8) -> Code {
        Code { digit, ..self }
    }

    pub const fn writing(self, writes: Writes) -> Code {
        Code { writes, ..self }
    }

    pub const fn scalar(self) -> Code {
        Code { is_scalar: true, ..self }
    }

    pub const fn of_bytes(self, bytes: u8) -> Code {
        Code { bytes, ..self }
    }
}

/// One instruction: `reg`, `second` and `operand` in the order of the manual's syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inst {
    pub code: Code,
    pub reg: Option<Reg>,
    pub second: Option<Reg>,
    pub operand: Operand,
    /// The lanes that are written.
    pub mask: Option<Reg>,
    /// Zeros in the other lanes, instead of what was there.
    pub zeroes: bool,
    pub immediate: Option<i32>,
}

/// What an instruction does with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Use,
    Define,
    Update,
}

impl Inst {
    pub fn new(
        code: Code,
        reg: impl Into<Option<Reg>>,
        second: impl Into<Option<Reg>>,
        operand: Operand,
    ) -> Inst {
        Inst {
            code,
            reg: reg.into(),
            second: second.into(),
            operand,
            mask: None,
            zeroes: false,
            immediate: None,
        }
    }

    pub fn with(self, immediate: i32) -> Inst {
        Inst { immediate: Some(immediate), ..self }
    }

    pub fn masked(self, mask: Option<Reg>) -> Inst {
        Inst { mask, ..self }
    }

    pub fn zeroing(self, mask: Option<Reg>) -> Inst {
        Inst { mask, zeroes: mask.is_some(), ..self }
    }

    /// Whether the operand, a vector, may lie in memory instead, at any address.
    pub fn takes_memory(&self) -> bool {
        const THESE: [&str; 25] = [
            "vmovu",
            "vadd",
            "vsub",
            "vmul",
            "vdiv",
            "vsqrt",
            "vmin",
            "vmax",
            "vcmp",
            "vand",
            "vandn",
            "vor",
            "vxor",
            "vpand",
            "vpandn",
            "vpor",
            "vpxor",
            "vpadd",
            "vpsub",
            "vblendv",
            "vblendm",
            "vfmadd231",
            "vfmadd213",
            "vfnmadd231",
            "vfnmadd213",
        ];
        self.moved().is_some() || self.code.form == Form::Vector && THESE.contains(&self.code.name)
    }

    /// Whether `second` and `operand` may change places.
    pub fn is_commutative(&self) -> bool {
        const THESE: [&str; 9] =
            ["vadd", "vmul", "vand", "vor", "vxor", "vpadd", "vfmadd231", "vfnmadd231", "vpxor"];
        THESE.contains(&self.code.name)
    }

    /// The registers, and what becomes of each.
    pub fn each_register(&self, mut f: impl FnMut(Reg, Role)) {
        // Comparisons clear the lanes that the mask leaves out.
        let is_vector = self.reg.is_none_or(|reg| reg.class != Class::Mask);
        let keeps_lanes = self.mask.is_some() && !self.zeroes && is_vector;
        let written = if keeps_lanes { Role::Update } else { Role::Define };
        if let Some(reg) = self.reg {
            f(
                reg,
                match self.code.writes {
                    Writes::Reg => written,
                    Writes::RegUpdated => Role::Update,
                    Writes::RegSelected => Role::Define,
                    _ => Role::Use,
                },
            );
        }
        if let Some(second) = self.second {
            f(second, if self.code.writes == Writes::Second { written } else { Role::Use });
        }
        match self.operand {
            Operand::Reg(reg) => {
                f(reg, if self.code.writes == Writes::Operand { Role::Define } else { Role::Use });
            }
            Operand::Memory(address) | Operand::Broadcast(address) => {
                address.each_register(|reg| f(reg, Role::Use))
            }
        }
        self.mask.into_iter().for_each(|mask| f(mask, Role::Use));
    }

    /// The instruction with each register replaced.
    pub fn map(self, mut f: impl FnMut(Reg) -> Reg) -> Inst {
        let mut address = |address: Address| Address {
            base: match address.base {
                Base::Reg(reg) => Base::Reg(f(reg)),
                Base::Constants => Base::Constants,
            },
            index: address.index.map(|(reg, scale)| (f(reg), scale)),
            ..address
        };
        let operand = match self.operand {
            Operand::Memory(at) => Operand::Memory(address(at)),
            Operand::Broadcast(at) => Operand::Broadcast(address(at)),
            Operand::Reg(reg) => Operand::Reg(f(reg)),
        };
        Inst {
            reg: self.reg.map(&mut f),
            second: self.second.map(&mut f),
            mask: self.mask.map(&mut f),
            operand,
            ..self
        }
    }
}

impl Inst {
    /// Loads or copies a register.
    pub fn load(to: Reg, from: Operand) -> Inst {
        const GENERAL: Code = Code::plain("mov", 0x8b);
        const VECTOR: Code = Code::float("vmovu", 1, 0x10, 4);
        const MASK: Code = Code { is_wide: true, ..Code::mask("kmovq", 0x90, false) };
        Inst::new(by_class(to, GENERAL, VECTOR, MASK), to, None, from)
    }

    /// Stores a register.
    pub fn store(from: Reg, to: Address) -> Inst {
        const GENERAL: Code = Code::plain("mov", 0x89).writing(Writes::NoRegister);
        const VECTOR: Code = Code::float("vmovu", 1, 0x11, 4).writing(Writes::NoRegister);
        const MASK: Code =
            Code { is_wide: true, ..Code::mask("kmovq", 0x91, false) }.writing(Writes::NoRegister);
        Inst::new(by_class(from, GENERAL, VECTOR, MASK), from, None, Operand::Memory(to))
    }

    /// Sets a general register to a number.
    pub fn set(to: Reg, number: i32) -> Inst {
        Inst::new(Code::plain("mov", 0xc7).writing(Writes::Operand), None, None, Operand::Reg(to))
            .with(number)
    }

    /// Computes an address.
    pub fn address(to: Reg, address: Address) -> Inst {
        Inst::new(Code::plain("lea", 0x8d), to, None, Operand::Memory(address))
    }

    /// `to = from + by`.
    pub fn add(to: Reg, from: Reg, by: i32) -> Inst {
        Inst::address(to, Address::at(from, by))
    }

    /// Both registers, if this copies one to the other.
    pub fn moved(&self) -> Option<(Reg, Reg)> {
        let Operand::Reg(from) = self.operand else { return None };
        let to = self.reg.filter(|_| self.mask.is_none())?;
        (to.class == from.class && *self == Inst::load(to, self.operand)).then_some((to, from))
    }
}

fn by_class(reg: Reg, general: Code, vector: Code, mask: Code) -> Code {
    match reg.class {
        Class::General => general,
        Class::Vector => vector,
        Class::Mask => mask,
    }
}

/// Where a loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    Number(i32),
    Reg(Reg),
}

/// A step of the code: an instruction, a call, or one end of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    Inst(Inst),
    Call(Call),
    /// The start of a loop that runs at least once.
    Begin,
    /// Adds `step` to the counter and goes back to the start while it is below `to`.
    End {
        counter: Reg,
        step: i32,
        to: Bound,
    },
    /// Takes an argument of the function.
    Argument {
        reg: Reg,
        number: usize,
    },
}

impl Item {
    /// The registers, and what becomes of each.
    pub fn each_register(&self, mut f: impl FnMut(Reg, Role)) {
        match self {
            Item::Inst(inst) => inst.each_register(f),
            Item::Call(call) => call.each_register(f),
            Item::Begin => {}
            Item::End { counter, to, .. } => {
                f(*counter, Role::Update);
                if let Bound::Reg(to) = to {
                    f(*to, Role::Use);
                }
            }
            Item::Argument { reg, .. } => f(*reg, Role::Define),
        }
    }

    /// An instruction or a call with each register replaced.
    pub fn map(self, f: impl FnMut(Reg) -> Reg) -> Item {
        match self {
            Item::Inst(inst) => Item::Inst(inst.map(f)),
            Item::Call(call) => Item::Call(call.map(f)),
            other => other,
        }
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GENERAL: [&str; 8] = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
        match (self.class, self.number) {
            (Class::General, low @ 0..8) => f.write_str(GENERAL[low as usize]),
            (Class::General, number) => write!(f, "r{number}"),
            (Class::Vector, number) => write!(f, "zmm{number}"),
            (Class::Mask, number) => write!(f, "k{number}"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Number(number) => write!(f, "{number}"),
            Bound::Reg(reg) => write!(f, "{reg}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base {
            Base::Reg(reg) => write!(f, "[{reg}")?,
            Base::Constants => write!(f, "[constants")?,
        }
        if let Some((index, scale)) = self.index {
            write!(f, " + {scale}*{index}")?;
        }
        match self.offset {
            0 => write!(f, "]"),
            offset => write!(f, " + {offset:#x}]"),
        }
    }
}

impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.code.name, self.code.suffix)?;
        // AVX2 has masks among the vectors, as operands.
        let (last, mask) = match self.mask {
            Some(mask) if mask.class == Class::Vector => (Some(mask), String::new()),
            Some(mask) => (None, format!("{{{mask}}}{}", if self.zeroes { "{z}" } else { "" })),
            None => (None, String::new()),
        };
        let mut parts: Vec<String> =
            [self.reg, self.second].into_iter().flatten().map(|reg| reg.to_string()).collect();
        let operand = match self.operand {
            Operand::Reg(reg) => reg.to_string(),
            Operand::Memory(address) => address.to_string(),
            Operand::Broadcast(address) => {
                format!("{address}{{1to{}}}", if self.code.is_wide { 8 } else { 16 })
            }
        };
        match self.code.writes {
            Writes::NoRegister | Writes::Operand => {
                parts.push(operand);
                parts.reverse();
            }
            _ => parts.push(operand),
        }
        if let Some(first) = parts.first_mut() {
            *first += &mask;
        }
        parts.extend(last.map(|mask| mask.to_string()));
        parts.extend(self.immediate.map(|immediate| immediate.to_string()));
        write!(f, " {}", parts.join(", "))
    }
}
