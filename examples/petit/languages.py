"""Words, prompts and word lists of the five languages petit speaks.

A prompt is a str.format template: {e} expression, {a} {b} operands, {l} letter, {w} word.
Trace words are templates too: {d} digit written, {c} carry, {n} count.
"""

LANGS = ("en", "fr", "de", "es", "it")

TRACE = {
    "en": {
        "names": ("Units", "Tens", "Hundreds", "Thousands"),
        "write": "write {d}", "carry": "carry {c}",
        "neg": "so I reverse the signs", "so": "So",
        "larger": "Larger", "smaller": "Smaller",
        "first_of": "the first", "second_of": "the second",
        "look": "I look for", "there": "There are {n}", "first": "First", "then": "Then",
        "answer": "The answer is",
    },
    "fr": {
        "names": ("Unités", "Dizaines", "Centaines", "Milliers"),
        "write": "je pose {d}", "carry": "je retiens {c}",
        "neg": "donc j'inverse les signes", "so": "Donc",
        "larger": "Le plus grand", "smaller": "Le plus petit",
        "first_of": "le premier", "second_of": "le second",
        "look": "Je cherche", "there": "Il y en a {n}", "first": "D'abord", "then": "Ensuite",
        "answer": "La réponse est",
    },
    "de": {
        "names": ("Einer", "Zehner", "Hunderter", "Tausender"),
        "write": "schreibe {d}", "carry": "merke {c}",
        "neg": "ich drehe die Vorzeichen um", "so": "Also",
        "larger": "Größer", "smaller": "Kleiner",
        "first_of": "die erste", "second_of": "die zweite",
        "look": "Ich suche", "there": "Es sind {n}", "first": "Zuerst", "then": "Dann",
        "answer": "Die Antwort ist",
    },
    "es": {
        "names": ("Unidades", "Decenas", "Centenas", "Millares"),
        "write": "pongo {d}", "carry": "llevo {c}",
        "neg": "así que invierto los signos", "so": "Entonces",
        "larger": "Mayor", "smaller": "Menor",
        "first_of": "el primero", "second_of": "el segundo",
        "look": "Busco", "there": "Hay {n}", "first": "Primero", "then": "Después",
        "answer": "La respuesta es",
    },
    "it": {
        "names": ("Unità", "Decine", "Centinaia", "Migliaia"),
        "write": "scrivo {d}", "carry": "riporto {c}",
        "neg": "quindi inverto i segni", "so": "Quindi",
        "larger": "Maggiore", "smaller": "Minore",
        "first_of": "il primo", "second_of": "il secondo",
        "look": "Cerco", "there": "Ce ne sono {n}", "first": "Prima", "then": "Poi",
        "answer": "La risposta è",
    },
}

PROMPTS = {
    "en": {
        "expr": ("What is {e}?", "Compute {e}.", "How much is {e}?", "Calculate {e}", "{e} = ?"),
        "add": (
            "What is {a} plus {b}?", "Add {a} and {b}.",
            "Anna has {a} apples and picks {b} more. How many apples does she have?",
            "A bus carries {a} people and {b} get on. How many people are on the bus?"),
        "sub": ("What is {a} minus {b}?", "Take {b} away from {a}."),
        "sub_ge": (
            "Tom has {a} coins and spends {b}. How many coins are left?",
            "There are {a} birds and {b} fly away. How many birds are left?"),
        "mul": (
            "What is {a} times {b}?", "Multiply {a} by {b}.",
            "There are {b} boxes with {a} pens each. How many pens in total?"),
        "larger": ("Which is larger, {a} or {b}?", "Which number is greater: {a} or {b}?"),
        "smaller": ("Which is smaller, {a} or {b}?", "Which number is less: {a} or {b}?"),
        "count": (
            'How many times does the letter "{l}" appear in "{w}"?',
            'How many "{l}" are in the word "{w}"?', 'How many {l} are in "{w}"?',
            'Count the letter {l} in "{w}".'),
    },
    "fr": {
        "expr": (
            "Combien font {e} ?", "Calcule {e}.", "Que vaut {e} ?",
            "Quel est le résultat de {e} ?", "{e} = ? Réponds en français."),
        "add": (
            "Combien font {a} plus {b} ?", "Additionne {a} et {b}.",
            "Anne a {a} pommes et en cueille {b}. Combien de pommes a-t-elle ?",
            "Un bus transporte {a} personnes et {b} montent."
            " Combien de personnes sont dans le bus ?"),
        "sub": ("Combien font {a} moins {b} ?", "Retire {b} de {a}."),
        "sub_ge": (
            "Tom a {a} pièces et en dépense {b}. Combien lui en reste-t-il ?",
            "Il y a {a} oiseaux et {b} s'envolent. Combien d'oiseaux reste-t-il ?"),
        "mul": (
            "Combien font {a} fois {b} ?", "Multiplie {a} par {b}.",
            "Il y a {b} boîtes de {a} stylos. Combien de stylos en tout ?"),
        "larger": (
            "Quel est le plus grand, {a} ou {b} ?", "Quel nombre est le plus grand : {a} ou {b} ?"),
        "smaller": (
            "Quel est le plus petit, {a} ou {b} ?", "Quel nombre est le plus petit : {a} ou {b} ?"),
        "count": (
            'Combien de fois la lettre "{l}" apparaît-elle dans "{w}" ?',
            'Combien de "{l}" y a-t-il dans le mot "{w}" ?',
            'Combien de {l} y a-t-il dans "{w}" ?', 'Compte la lettre {l} dans "{w}".'),
    },
    "de": {
        "expr": (
            "Was ist {e}?", "Berechne {e}.", "Wie viel ist {e}?", "Was ergibt {e}?",
            "{e} = ? Antworte auf Deutsch."),
        "add": (
            "Was ist {a} plus {b}?", "Addiere {a} und {b}.",
            "Anna hat {a} Äpfel und pflückt {b} dazu. Wie viele Äpfel hat sie?",
            "In einem Bus sitzen {a} Leute und {b} steigen ein. Wie viele Leute sind im Bus?"),
        "sub": ("Was ist {a} minus {b}?", "Ziehe {b} von {a} ab."),
        "sub_ge": (
            "Tom hat {a} Münzen und gibt {b} aus. Wie viele Münzen bleiben ihm?",
            "Es gibt {a} Vögel und {b} fliegen weg. Wie viele Vögel bleiben?"),
        "mul": (
            "Was ist {a} mal {b}?", "Multipliziere {a} mit {b}.",
            "Es gibt {b} Kisten mit je {a} Stiften. Wie viele Stifte sind es insgesamt?"),
        "larger": ("Welche Zahl ist größer, {a} oder {b}?", "Was ist größer: {a} oder {b}?"),
        "smaller": ("Welche Zahl ist kleiner, {a} oder {b}?", "Was ist kleiner: {a} oder {b}?"),
        "count": (
            'Wie oft kommt der Buchstabe "{l}" in "{w}" vor?',
            'Wie viele "{l}" sind im Wort "{w}"?', 'Wie viele {l} sind in "{w}"?',
            'Zähle den Buchstaben {l} in "{w}".'),
    },
    "es": {
        "expr": (
            "¿Cuánto es {e}?", "Calcula {e}.", "¿Cuál es el resultado de {e}?",
            "¿Cuánto vale {e}?", "{e} = ? Responde en español."),
        "add": (
            "¿Cuánto es {a} más {b}?", "Suma {a} y {b}.",
            "Ana tiene {a} manzanas y recoge {b} más. ¿Cuántas manzanas tiene?",
            "Un autobús lleva {a} personas y suben {b}. ¿Cuántas personas hay en el autobús?"),
        "sub": ("¿Cuánto es {a} menos {b}?", "Resta {b} de {a}."),
        "sub_ge": (
            "Tomás tiene {a} monedas y gasta {b}. ¿Cuántas monedas le quedan?",
            "Hay {a} pájaros y {b} se van volando. ¿Cuántos pájaros quedan?"),
        "mul": (
            "¿Cuánto es {a} por {b}?", "Multiplica {a} por {b}.",
            "Hay {b} cajas con {a} lápices cada una. ¿Cuántos lápices hay en total?"),
        "larger": ("¿Cuál es mayor, {a} o {b}?", "¿Qué número es más grande: {a} o {b}?"),
        "smaller": ("¿Cuál es menor, {a} o {b}?", "¿Qué número es más pequeño: {a} o {b}?"),
        "count": (
            '¿Cuántas veces aparece la letra "{l}" en "{w}"?',
            '¿Cuántas "{l}" hay en la palabra "{w}"?', '¿Cuántas {l} hay en "{w}"?',
            'Cuenta la letra {l} en "{w}".'),
    },
    "it": {
        "expr": (
            "Quanto fa {e}?", "Calcola {e}.", "Qual è il risultato di {e}?", "Quanto vale {e}?",
            "{e} = ? Rispondi in italiano."),
        "add": (
            "Quanto fa {a} più {b}?", "Somma {a} e {b}.",
            "Anna ha {a} mele e ne coglie altre {b}. Quante mele ha?",
            "Un autobus porta {a} persone e ne salgono {b}. Quante persone ci sono?"),
        "sub": ("Quanto fa {a} meno {b}?", "Togli {b} da {a}."),
        "sub_ge": (
            "Tommaso ha {a} monete e ne spende {b}. Quante monete gli restano?",
            "Ci sono {a} uccelli e {b} volano via. Quanti uccelli restano?"),
        "mul": (
            "Quanto fa {a} per {b}?", "Moltiplica {a} per {b}.",
            "Ci sono {b} scatole con {a} penne ciascuna. Quante penne ci sono in tutto?"),
        "larger": ("Qual è il maggiore, {a} o {b}?", "Quale numero è più grande: {a} o {b}?"),
        "smaller": ("Qual è il minore, {a} o {b}?", "Quale numero è più piccolo: {a} o {b}?"),
        "count": (
            'Quante volte compare la lettera "{l}" in "{w}"?',
            'Quante "{l}" ci sono nella parola "{w}"?', 'Quante {l} ci sono in "{w}"?',
            'Conta la lettera {l} in "{w}".'),
    },
}

QUOTES = {"en": "“”", "fr": "«»", "de": "„“", "es": "«»", "it": "«»"}

WORDS = {
    "en": "strawberry banana apple letter coffee butter summer winter yellow window pepper"
          " kitchen balloon rabbit cherry river mirror cheese little bottle happy jelly puzzle"
          " sleep bridge garden school street moon queen zebra fox wizard lemon tomato potato"
          " kangaroo hammock giraffe tree",
    "fr": "banane fraise pomme maison voiture lettre fromage jardin cerise bonjour soleil"
          " lune papillon poisson oiseau fenetre carotte tomate citron orange chaussure"
          " couteau assiette bouteille pantalon chapeau montagne riviere nuage feuille"
          " grenouille kiwi wagon zoo ballon lapin rouge jaune",
    "de": "banane erdbeere apfel haus auto wasser sommer winter kaffee butter garten schule"
          " katze hund vogel fenster tisch stuhl blume sonne mond stern lampe kartoffel tomate"
          " zitrone schloss brille flasche teller messer gabel zucker pfeffer kissen decke bett"
          " wolke regen",
    "es": "banana fresa manzana casa coche perro gato carta queso jardin cereza sol luna"
          " mariposa pescado ventana zanahoria tomate limon naranja zapato cuchillo plato"
          " botella sombrero montana nube hoja rana pelota conejo rojo amarillo guitarra"
          " cabello torre arroz",
    "it": "banana fragola mela casa macchina cane gatto lettera formaggio giardino ciliegia"
          " sole luna farfalla pesce finestra carota pomodoro limone arancia scarpa coltello"
          " piatto bottiglia cappello montagna nuvola foglia rana palla coniglio rosso giallo"
          " zucchero caffe tazza pizza",
}
WORDS = {lang: tuple(text.split()) for lang, text in WORDS.items()}
