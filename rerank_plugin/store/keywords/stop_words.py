"""Frequent function words that a keyword index may leave out, as the analysis sees them: lower case, no yo."""

_ENGLISH = """
a an the and or but nor so if then than as at by for from in into of off on onto out over to under up upon
with without about above after again against before below between down during through until while am is are
was were be been being do does did doing have has had having can could may might must shall should will would
i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves this that these those there here what which who whom
whose when where why how all any both each few more most other some such no not only own same too very just
also s t d ll m re ve
"""
_RUSSIAN = """
и а но да или либо ни не нет же ли бы б ведь вот уж уже еще лишь только даже как так что чтобы чтоб если когда
пока хотя потому поэтому то тоже также зато однако в во на с со к ко у о об обо от ото до по за из изо над под
подо при про без для через между перед после около среди ради вместо кроме я меня мне мной мною ты тебя тебе
тобой он его ему им ним него нем она ее ей ею нее ней оно мы нас нам нами вы вас вам вами они их ими них ними
себя себе собой мой моя мое мои твой твоя твое твои свой своя свое свои своего своей своих своим наш наша наше
наши ваш ваша ваше ваши этот эта это эти этого этой этих этом этим этому тот та те того той тех том тем тому
такой такая такое такие кто кого кому кем ком чего чему чем чей который которая которое которые которого
которой которых котором где куда откуда почему зачем сколько какой какая какое какие каков весь вся все всего
всей всех всем всеми сам сама само сами самый быть был была было были есть будет будут буду будем мочь может
могут можно нельзя надо там тут здесь сейчас теперь тогда потом опять снова всегда иногда очень более менее
больше совсем почти
"""

ENGLISH = frozenset(_ENGLISH.split())
RUSSIAN = frozenset(_RUSSIAN.split())
